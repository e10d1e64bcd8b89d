{{/* The pod, the same in a Deployment and in a DaemonSet. */}}
{{- define "ktp.podTemplate" -}}
{{- $mode := include "ktp.certificate.mode" . -}}
{{- $config := include "ktp.config" . -}}
{{- $daemonSet := eq .Values.kind "DaemonSet" -}}
metadata:
  labels:
    {{- merge (include "ktp.labels" . | fromYaml) (.Values.podLabels | default dict) | toYaml | nindent 4 }}
  {{/* No checksum of the configuration: like the certificate it is read anew while the proxy runs, which cuts nobody off. */}}
  {{- with .Values.podAnnotations }}
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
    -
      {{- include "ktp.container" . | nindent 6 }}
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
