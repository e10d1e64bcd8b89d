{{/* The proxy's container; its name is the incumbent's, for whoever patches or tails it by that. */}}
{{- define "ktp.container" -}}
{{- $mode := include "ktp.certificate.mode" . -}}
{{- $config := include "ktp.config" . -}}
{{- $daemonSet := eq .Values.kind "DaemonSet" -}}
name: capsule-proxy
image: {{ include "ktp.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --listening-port={{ .Values.options.listeningPort }}
  - --capsule-configuration-name={{ .Values.options.capsuleConfigurationName }}
  - --enable-ssl={{ .Values.options.enableSSL }}
  {{- if ne $mode "none" }}
  - --ssl-cert-path={{ .Values.options.SSLDirectory }}/{{ .Values.options.SSLCertFileName }}
  - --ssl-key-path={{ .Values.options.SSLDirectory }}/{{ .Values.options.SSLKeyFileName }}
  - --ssl-secret={{ .Release.Namespace }}/{{ include "ktp.certificate.secretName" . }}
  {{- end }}
  - --metrics-addr=:8080
  - --probe-addr=:8081
  - --zap-log-level={{ .Values.options.logLevel }}
  {{- with .Values.options.authPreferredTypes }}
  - --auth-preferred-types={{ . }}
  {{- end }}
  {{- if and .Values.options.oidcUsernameClaim (ne .Values.options.oidcUsernameClaim "preferred_username") }}
  - --oidc-username-claim={{ .Values.options.oidcUsernameClaim }}
  {{- end }}
  {{- range .Values.options.ignoredUserGroups }}
  - {{ printf "--ignored-user-group=%s" . | quote }}
  {{- end }}
  {{- range .Values.options.ignoredUsernames }}
  - {{ printf "--ignored-username=%s" . | quote }}
  {{- end }}
  {{- if kindIs "bool" .Values.options.roleBindingReflector }}
  - --enable-reflector={{ .Values.options.roleBindingReflector }}
  {{- end }}
  {{- if not .Values.options.ruleStatus }}
  - --rule-status=false
  {{- end }}
  {{- if .Values.options.narrowAlways }}
  - --narrow-always
  {{- end }}
  {{- if $config }}
  - --config=/etc/kube-tenant-proxy/config.yaml
  {{- end }}
  {{- range .Values.options.extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  - name: NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: proxy
    containerPort: {{ .Values.options.listeningPort }}
    protocol: TCP
    {{- if and $daemonSet .Values.daemonset.hostPort }}
    hostPort: {{ .Values.options.listeningPort }}
    {{- end }}
  - name: probe
    containerPort: 8081
    protocol: TCP
  - name: metrics
    containerPort: 8080
    protocol: TCP
{{- with include "ktp.enabledMap" .Values.startupProbe }}
startupProbe:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "ktp.enabledMap" .Values.livenessProbe }}
livenessProbe:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "ktp.enabledMap" .Values.readinessProbe }}
readinessProbe:
  {{- . | nindent 2 }}
{{- end }}
lifecycle:
  preStop:
    # Time for the endpoints to forget this pod before it stops accepting; needs no shell in the image.
    sleep:
      seconds: 5
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ktp.enabledMap" .Values.securityContext }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
{{- if or (ne $mode "none") $config .Values.volumeMounts }}
volumeMounts:
  {{- if ne $mode "none" }}
  - name: certs
    mountPath: {{ .Values.options.SSLDirectory }}
    readOnly: true
  {{- end }}
  {{- if $config }}
  - name: config
    mountPath: /etc/kube-tenant-proxy
    readOnly: true
  {{- end }}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}
