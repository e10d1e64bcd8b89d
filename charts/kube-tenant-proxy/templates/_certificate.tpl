{{/*
Where the certificate comes from:
  none          plain HTTP
  existing      a Secret somebody else makes: mounted, never rendered, never changed
  cert-manager  cert-manager makes the Secret, from a Certificate of this release
  generated     the chart's own Secret: made once where there is none, kept by upgrades and by uninstall
What this release did not make, Secret or Certificate, is `existing`, unless the values ask for cert-manager.
*/}}
{{- define "ktp.certificate.mode" -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "ktp.fullname" .) -}}
{{- $asked := toString .Values.certManager.generateCertificates -}}
{{- $certificate := include "ktp.certManager.live" . | fromYaml -}}
{{- $ours := eq (include "ktp.certManager.madeBy" $certificate) .Release.Name -}}
{{- if not .Values.options.enableSSL -}}none
{{- else if .Values.options.certificateVolumeName -}}existing
{{- else if eq $asked "true" -}}cert-manager
{{- else if and $certificate $ours (ne $asked "false") -}}cert-manager
{{- else if eq (toString .Values.options.generateCertificates) "false" -}}existing
{{- else if and $certificate (not $ours) -}}existing
{{- else if and $secret (ne (include "ktp.certificate.madeBy" $secret) .Release.Name) -}}existing
{{- else -}}generated
{{- end -}}
{{- end -}}

{{- define "ktp.certificate.secretName" -}}
{{- .Values.options.certificateVolumeName | default (include "ktp.fullname" .) -}}
{{- end -}}

{{/* The release that generated this Secret, from the mark it left on it. */}}
{{- define "ktp.certificate.madeBy" -}}
{{- dig "metadata" "annotations" "kube-tenant-proxy.io/generated-by" "" . -}}
{{- end -}}

{{/* The Service's names, as a YAML list. */}}
{{- define "ktp.certificate.serviceNames" -}}
{{- $full := include "ktp.fullname" . -}}
{{- $svc := printf "%s.%s.svc" $full .Release.Namespace -}}
{{- list $full (printf "%s.%s" $full .Release.Namespace) $svc (printf "%s.cluster.local" $svc) | toYaml -}}
{{- end -}}

{{/* What the certificate is good for, as YAML: `dns`, `ips`, and both under `names`. */}}
{{- define "ktp.certificate.names" -}}
{{- $byCertManager := eq (include "ktp.certificate.mode" .) "cert-manager" -}}
{{- $names := list -}}
{{- if or (not $byCertManager) .Values.certManager.certificate.includeInternalServiceNames -}}
{{- $names = include "ktp.certificate.serviceNames" . | fromYamlArray -}}
{{- end -}}
{{- $names = concat $names .Values.options.additionalSANs (include "ktp.exposedHosts" . | fromYaml).hosts -}}
{{- if $byCertManager -}}
{{- $names = concat $names .Values.certManager.certificate.dnsNames .Values.certManager.certificate.ipAddresses -}}
{{- end -}}
{{- $names = uniq $names -}}
{{- $dns := list -}}
{{- $ips := list -}}
{{- range $names -}}
{{- if or (regexMatch "^[0-9]+(\\.[0-9]+){3}$" .) (contains ":" .) -}}
{{- $ips = append $ips . -}}
{{- else -}}
{{- $dns = append $dns . -}}
{{- end -}}
{{- end -}}
{{- dict "names" $names "dns" $dns "ips" $ips | toYaml -}}
{{- end -}}

{{/* The Certificate <full>-serving-cert that is there already, as YAML, or nothing. */}}
{{- define "ktp.certManager.live" -}}
{{- if .Capabilities.APIVersions.Has "cert-manager.io/v1" -}}
{{- with lookup "cert-manager.io/v1" "Certificate" .Release.Namespace (printf "%s-serving-cert" (include "ktp.fullname" .)) -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The release that this Certificate belongs to, from the mark that Helm left on it. */}}
{{- define "ktp.certManager.madeBy" -}}
{{- dig "metadata" "annotations" "meta.helm.sh/release-name" "" . -}}
{{- end -}}

{{/* Who signs, as the `issuerRef` of a Certificate. */}}
{{- define "ktp.certManager.issuer" -}}
{{- with .Values.certManager.issuer -}}
{{- dict "group" "cert-manager.io" "kind" .kind "name" (.name | default (printf "%s-ca-issuer" (include "ktp.fullname" $))) | toYaml -}}
{{- end -}}
{{- end -}}

{{/* "true" where the release has an issuer of its own, for nobody named another. */}}
{{- define "ktp.certManager.ownIssuer" -}}
{{- with .Values.certManager.issuer -}}{{- and (eq .kind "Issuer") (empty .name) -}}{{- end -}}
{{- end -}}

{{/* The Secret of the CA behind that issuer. */}}
{{- define "ktp.certManager.caSecretName" -}}
{{- if .Values.certManager.externalCA.enabled -}}
{{- .Values.certManager.externalCA.secretName -}}
{{- else -}}
{{- include "ktp.fullname" . }}-root-secret
{{- end -}}
{{- end -}}
