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
  {{ include "ktp.notes.ca" (list . "ca") }}
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
{{- $names = concat $names $there }}
{{- else }}
  It is good for {{ join ", " $names }}.
{{- end }}
{{- include "ktp.notes.names" (list . $names) }}
{{- else if eq $mode "cert-manager" }}
{{- $issuer := include "ktp.certManager.issuer" . | fromYaml }}
  By cert-manager, in the Secret {{ $secret }}, signed by the {{ $issuer.kind }} {{ $issuer.name }}, and renewed while the proxy runs.
{{- if eq (include "ktp.certManager.ownIssuer" .) "true" }}
  {{ include "ktp.notes.ca" (list . "ca.crt") }}
{{- else }}
  Users need the CA of that issuer, unless their machines trust it already.
{{- end }}
  It is good for {{ join ", " (include "ktp.certificate.names" . | fromYaml).names }}.
{{- include "ktp.notes.names" (list . (include "ktp.certificate.names" . | fromYaml).names) }}
{{- $live := include "ktp.certManager.live" . | fromYaml }}
{{- $before := dig "spec" "issuerRef" "name" "" $live }}
{{- if and $before (ne $before $issuer.name) }}
  WARNING: until now it was signed by {{ dig "spec" "issuerRef" "kind" "Issuer" $live }} {{ $before }}. The CA changes, and every user needs the new one.
{{- else if include "ktp.certificate.madeBy" (lookup "v1" "Secret" $ns $secret) }}
  WARNING: until now it was made by the chart. The CA changes, and every user needs the new one; `ca` in the Secret is the
  old one. For a clean Secret: kubectl -n {{ $ns }} delete secret {{ $secret }}
{{- end }}
{{- else }}
  Yours, in the Secret {{ $secret }}; options.additionalSANs has no effect on it.
{{- if not (lookup "v1" "Secret" $ns $secret) }}
  Until the Secret exists the pod is not ready. It is made by
{{- $certificate := .Values.options.SSLCertFileName }}
{{- $key := .Values.options.SSLKeyFileName }}
{{- if and (eq $certificate "tls.crt") (eq $key "tls.key") }}
    kubectl -n {{ $ns }} create secret tls {{ $secret }} --cert=tls.crt --key=tls.key
{{- else }}
    kubectl -n {{ $ns }} create secret generic {{ $secret }} --from-file={{ $certificate }} --from-file={{ $key }}
{{- end }}
{{- end }}
  A renewed one is taken up while the proxy runs, about a minute after the Secret has changed.
{{- $live := include "ktp.certManager.live" . | fromYaml }}
{{- if and $live (eq $secret $full) }}
{{- if eq (include "ktp.certManager.madeBy" $live) .Release.Name }}
  WARNING: with these values the release no longer has the Certificate {{ $full }}-serving-cert, and nobody renews the
  Secret. certManager.generateCertificates=true keeps it.
{{- else }}
  The Certificate {{ $full }}-serving-cert renews it, which is not of this release.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
What is wrong with a certificate made here or by cert-manager that names nothing outside, where users come from there. Call
with (list . <names>).
*/}}
{{- define "ktp.notes.names" -}}
{{- $names := index . 1 -}}
{{- with index . 0 -}}
{{- $inside := include "ktp.certificate.serviceNames" . | fromYamlArray -}}
{{- $outside := list -}}
{{- range $names -}}
{{- if not (has . $inside) -}}{{- $outside = append $outside . -}}{{- end -}}
{{- end -}}
{{- if and (eq (include "ktp.isOutside" .) "true") (not $outside) }}
{{- $name := "the name or address that users connect to" }}
{{- with get .Values.service.annotations "service.beta.kubernetes.io/azure-dns-label-name" }}
{{- $name = printf "%s.<region>.cloudapp.azure.com" . }}
{{- end }}
  WARNING: it names nothing outside the cluster, so every user sees `x509: certificate is valid for …, not …`. Set
  options.additionalSANs[0] to {{ $name }}.
{{- end }}
{{- end -}}
{{- end -}}

{{/* How a user trusts the certificate, the CA being under a key of the Secret. Call with (list . <key>). */}}
{{- define "ktp.notes.ca" -}}
{{- $key := index . 1 | replace "." "\\." -}}
{{- with index . 0 -}}
{{- $past := and .Values.ingress.enabled (ne (include "ktp.ingress.tls" .) "passed") -}}
{{ ternary "Whoever connects past the Ingress needs" "Users need" $past }} its CA:
    kubectl -n {{ .Release.Namespace }} get secret {{ include "ktp.certificate.secretName" . }} -o jsonpath='{.data.{{ $key }}}' | base64 -d > ca.crt
    kubectl config set-cluster <cluster> --server={{ include "ktp.server" . }} --certificate-authority=ca.crt --embed-certs=true
{{- end -}}
{{- end -}}
