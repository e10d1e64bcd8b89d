{{/* One endpoint of a ServiceMonitor or PodMonitor: the metrics port, and what a section of the values says of it. */}}
{{- define "ktp.monitorEndpoint" -}}
port: metrics
path: /metrics
{{- range $key, $value := . }}
{{- if $value }}
{{ dict $key $value | toYaml }}
{{- end }}
{{- end }}
{{- end -}}
