{{/*
What happens to TLS in the ingress controller:
  passed   it reaches the proxy as it is
  ended    it ends in the controller, by a certificate of `ingress.tls`
  unknown  nothing here says: the controller may have a certificate of its own, or speak plain HTTP
The annotations that pass it through end alike in ingress-nginx and in the HAProxy controllers.
*/}}
{{- define "ktp.ingress.tls" -}}
{{- $answer := ternary "ended" "unknown" (not (empty .Values.ingress.tls)) -}}
{{- range $key, $value := .Values.ingress.annotations -}}
{{- if and (hasSuffix "/ssl-passthrough" $key) (eq $value "true") -}}{{- $answer = "passed" -}}{{- end -}}
{{- end -}}
{{- $answer -}}
{{- end -}}

{{/*
Whether the Ingress is for ingress-nginx: by its annotations, or by the usual name of its class, which NGINX's own controller
shares (nginx.org/…).
*/}}
{{- define "ktp.ingress.isNginx" -}}
{{- $answer := eq (.Values.ingress.className | default .Values.ingress.ingressClassName | default "") "nginx" -}}
{{- range $key := keys .Values.ingress.annotations | sortAlpha -}}
{{- if hasPrefix "nginx.org/" $key -}}{{- $answer = false -}}{{- end -}}
{{- end -}}
{{- range $key, $value := .Values.ingress.annotations -}}
{{- if hasPrefix "nginx.ingress.kubernetes.io/" $key -}}{{- $answer = true -}}{{- end -}}
{{- end -}}
{{- $answer -}}
{{- end -}}

{{/* The names that users connect to from outside, as a YAML list under `hosts`. */}}
{{- define "ktp.exposedHosts" -}}
{{- $hosts := list -}}
{{- if .Values.ingress.enabled -}}
{{- range .Values.ingress.hosts -}}{{- $hosts = append $hosts .host -}}{{- end -}}
{{- end -}}
{{- with .Values.gatewayApi.tlsRoute -}}
{{- if .enabled -}}{{- $hosts = concat $hosts .hostnames -}}{{- end -}}
{{- end -}}
{{- dict "hosts" (uniq $hosts) | toYaml -}}
{{- end -}}

{{/* Where users meet the proxy's own certificate, as `server` of a kubeconfig; a placeholder where nothing says. */}}
{{- define "ktp.server" -}}
{{- $hosts := list -}}
{{- if and .Values.ingress.enabled (eq (include "ktp.ingress.tls" .) "passed") -}}
{{- $hosts = (include "ktp.exposedHosts" . | fromYaml).hosts -}}
{{- else if .Values.gatewayApi.tlsRoute.enabled -}}
{{- $hosts = .Values.gatewayApi.tlsRoute.hostnames -}}
{{- end -}}
{{- if $hosts -}}
https://{{ first $hosts | replace "*" "<name>" }}
{{- else if eq .Values.service.type "NodePort" -}}
{{ include "ktp.scheme" . }}://<node>:{{ .Values.service.nodePort | int | default "<node port>" }}
{{- else if and (eq (include "ktp.onNodes" .) "true") (ne .Values.service.type "LoadBalancer") -}}
{{ include "ktp.scheme" . }}://<node>:{{ .Values.options.listeningPort }}
{{- else -}}
{{ include "ktp.scheme" . }}://<address>:{{ .Values.service.port }}
{{- end -}}
{{- end -}}

{{/* "true" where the proxy's own port is open on the nodes. */}}
{{- define "ktp.onNodes" -}}
{{- and (eq .Values.kind "DaemonSet") (or .Values.daemonset.hostNetwork .Values.daemonset.hostPort) -}}
{{- end -}}

{{/* "true" where users from outside the cluster come to the proxy's own port, or to one that leads to it. */}}
{{- define "ktp.isOutside" -}}
{{- or (ne .Values.service.type "ClusterIP") (eq (include "ktp.onNodes" .) "true") -}}
{{- end -}}
