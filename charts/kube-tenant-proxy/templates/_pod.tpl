{{/* The pod, the same in a Deployment and in a DaemonSet. */}}
{{- define "ktp.podTemplate" -}}
{{- $mode := include "ktp.certificate.mode" . -}}
{{- $config := include "ktp.config" . -}}
{{- $daemonSet := eq .Values.kind "DaemonSet" -}}
metadata:
  labels:
    {{- include "ktp.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $annotations := deepCopy .Values.podAnnotations -}}
  {{- if $config -}}
  {{/* A certificate needs no such mark: it is read anew while the proxy runs. */}}
  {{- $_ := set $annotations "checksum/config" (sha256sum $config) -}}
  {{- end -}}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ktp.serviceAccountName" . }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  restartPolicy: {{ .Values.restartPolicy }}
  terminationGracePeriodSeconds: 60
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .Values.hostUsers }}
  hostUsers: false
  {{- end }}
  {{- if and $daemonSet .Values.daemonset.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with include "ktp.enabledMap" .Values.podSecurityContext }}
  securityContext:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: capsule-proxy
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
        {{- toYaml . | nindent 8 }}
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
        {{- . | nindent 8 }}
      {{- end }}
      {{- with include "ktp.enabledMap" .Values.livenessProbe }}
      livenessProbe:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with include "ktp.enabledMap" .Values.readinessProbe }}
      readinessProbe:
        {{- . | nindent 8 }}
      {{- end }}
      lifecycle:
        preStop:
          # Time for the endpoints to forget this pod before it stops accepting; needs no shell in the image.
          sleep:
            seconds: 5
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with include "ktp.enabledMap" .Values.securityContext }}
      securityContext:
        {{- . | nindent 8 }}
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
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- if or (ne $mode "none") $config .Values.volumes }}
  volumes:
    {{- if ne $mode "none" }}
    - name: certs
      secret:
        secretName: {{ include "ktp.certificate.secretName" . }}
        # Without the Secret the pod starts, is not ready, and says which command makes it.
        optional: true
    {{- end }}
    {{- if $config }}
    - name: config
      configMap:
        name: {{ include "ktp.fullname" . }}-config
    {{- end }}
    {{- with .Values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if eq (include "ktp.severalReplicas" .) "true" }}
  # A wish, not a condition: on a cluster of one node the replicas still start.
  topologySpreadConstraints:
    {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "ktp.selectorLabels" $ | nindent 10 }}
      # The pods of an old version do not count against those of the new one.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end -}}
