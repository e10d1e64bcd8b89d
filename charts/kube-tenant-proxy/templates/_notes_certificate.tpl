{{/* Where the certificate comes from, what it is good for, and what is left to do. */}}
{{- define "ktp.notes.certificate" -}}
{{- $full := include "ktp.fullname" . -}}
{{- $ns := .Release.Namespace -}}
{{- $mode := include "ktp.certificate.mode" . -}}
{{- $secret := include "ktp.certificate.secretName" . -}}
Certificate
{{- if eq $mode "none" }}
  None (options.enableSSL=false): tokens cross the network in the clear. Only behind something that ends TLS beside it.
{{- else if eq $mode "generated" }}
  Made by the chart, with its own CA, in the Secret {{ $secret }}: valid for ten years, kept by upgrades and by uninstall.
  {{ if and .Values.ingress.enabled (ne (include "ktp.ingress.tls" .) "passed") }}Whoever connects past the Ingress needs{{ else }}Users need{{ end }} its CA:
    kubectl -n {{ $ns }} get secret {{ $secret }} -o jsonpath='{.data.ca}' | base64 -d > ca.crt
    kubectl config set-cluster <cluster> --server={{ include "ktp.server" . }} --certificate-authority=ca.crt --embed-certs=true
{{- $names := (include "ktp.certificate.names" . | fromYaml).names }}
{{- $live := lookup "v1" "Secret" $ns $secret }}
{{- if $live }}
{{- $there := splitList "," (dig "metadata" "annotations" "kube-tenant-proxy.io/names" "" $live) }}
{{- $missing := list }}
{{- range $names }}{{- if not (has . $there) }}{{- $missing = append $missing . }}{{- end }}{{- end }}
{{- with $missing }}
  WARNING: the certificate was made earlier and lacks {{ join ", " . }}. A new one has a new CA, which every user then
  needs: kubectl -n {{ $ns }} delete secret {{ $secret }}, and upgrade again.
{{- end }}
{{- else }}
  It is good for {{ join ", " $names }}.
{{- end }}
{{- else }}
  Yours, in the Secret {{ $secret }}; options.additionalSANs has no effect on it.
{{- if not (lookup "v1" "Secret" $ns $secret) }}
  Until the Secret exists the pod is not ready. It is made by
    kubectl -n {{ $ns }} create secret tls {{ $secret }} --cert=tls.crt --key=tls.key
{{- end }}
  A renewed one is taken up while the proxy runs, about a minute after the Secret has changed.
{{- if .Capabilities.APIVersions.Has "cert-manager.io/v1" }}
{{- if lookup "cert-manager.io/v1" "Certificate" $ns (printf "%s-serving-cert" $full) }}
  WARNING: the Certificate {{ $full }}-serving-cert is not rendered by this chart, and an upgrade from Capsule's proxy
  removes it: then nobody renews the Secret. Make a Certificate of your own for it.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
