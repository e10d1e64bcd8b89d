{{/* What ingress-nginx needs besides what it is told: lines that follow the addresses. */}}
{{- define "ktp.notes.nginx" -}}
{{- if eq (include "ktp.ingress.tls" .) "passed" }}
  ingress-nginx must run with --enable-ssl-passthrough: without it, users see a certificate of its own.
{{- else }}
{{- $missing := list }}
{{- range $name, $value := .Files.Get "files/ingress-nginx.yaml" | fromYaml }}
{{- $there := get $.Values.ingress.annotations (printf "nginx.ingress.kubernetes.io/%s" $name) }}
{{- $wrong := or (not $there) (and (eq $name "backend-protocol") (ne (upper $there) $value)) }}
{{- if and $wrong (or $.Values.options.enableSSL (ne $name "backend-protocol")) }}
{{- $missing = append $missing (printf "%s: %s" $name ($value | quote)) }}
{{- end }}
{{- end }}
{{- with $missing }}
  WARNING: for ingress-nginx these are missing in ingress.annotations, under nginx.ingress.kubernetes.io/:
{{- range . }}
    {{ . }}
{{- end }}
{{- end }}
  ingress-nginx must let long tokens in: large-client-header-buffers: "4 32k" in its ConfigMap.
{{- end }}
{{- end -}}

{{/* Under which addresses the proxy answers, from outside first. */}}
{{- define "ktp.notes.address" -}}
{{- $full := include "ktp.fullname" . -}}
{{- $ns := .Release.Namespace -}}
{{- $scheme := include "ktp.scheme" . -}}
{{- $port := .Values.service.port -}}
{{- $exposed := or .Values.ingress.enabled .Values.gatewayApi.tlsRoute.enabled -}}
Address
{{- if .Values.ingress.enabled }}
{{- $tls := include "ktp.ingress.tls" . }}
{{- range .Values.ingress.hosts }}
  {{ ternary "http" "https" (eq $tls "unknown") }}://{{ .host }}, by the Ingress
  {{- if eq $tls "passed" }}, which passes TLS through: users see the proxy's certificate
  {{- else if eq $tls "ended" }}, which ends TLS: users see the certificate of ingress.tls, and log in with tokens
  {{- end }}
{{- end }}
{{- if eq $tls "unknown" }}
  WARNING: ingress.tls is empty, and no annotation passes TLS through: unless the controller has a certificate of its own
  for these names, tokens cross the network in the clear.
{{- else if and (eq $tls "ended") .Values.options.enableSSL }}
  The controller must speak HTTPS to the proxy, without buffering, and let connections live for an hour: ingress.annotations.
{{- end }}
{{- if eq (include "ktp.ingress.isNginx" .) "true" }}
{{- include "ktp.notes.nginx" . }}
{{- end }}
{{- end }}
{{- if .Values.gatewayApi.tlsRoute.enabled }}
{{- range .Values.gatewayApi.tlsRoute.hostnames }}
  https://{{ . }}, by the TLSRoute, which passes TLS through: users see the proxy's certificate
{{- end }}
{{- end }}
{{- if eq .Values.service.type "LoadBalancer" }}
  {{ $scheme }}://<external name or address>:{{ $port }}, once the load balancer has one:
    kubectl -n {{ $ns }} get service {{ $full }}
{{- with get .Values.service.annotations "service.beta.kubernetes.io/azure-dns-label-name" }}
  On Azure: {{ $scheme }}://{{ . }}.<region>.cloudapp.azure.com:{{ $port }}
{{- end }}
{{- else if eq .Values.service.type "NodePort" }}
{{- $nodePort := int .Values.service.nodePort }}
  {{ $scheme }}://<a node's address>:{{ $nodePort | default "<node port>" }}{{ if not $nodePort }}; the node port is shown by
    kubectl -n {{ $ns }} get service {{ $full }}
{{- end }}
{{- else if eq (include "ktp.onNodes" .) "true" }}
  {{ $scheme }}://<a node's address>:{{ .Values.options.listeningPort }}
{{- else if $exposed }}
  Inside the cluster: {{ $scheme }}://{{ $full }}.{{ $ns }}.svc:{{ $port }}.
{{- else }}
  Inside the cluster only: {{ $scheme }}://{{ $full }}.{{ $ns }}.svc:{{ $port }}. service.type=LoadBalancer opens it to the outside.
{{- end }}
{{- end -}}
