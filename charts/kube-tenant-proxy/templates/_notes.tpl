{{/* One sentence per value that has no effect beside another one, or more than one would think, as a YAML list. */}}
{{- define "ktp.notes.values" -}}
{{- $notes := list -}}
{{- $values := .Values -}}

{{- with .Values.certManager -}}
{{- $mode := include "ktp.certificate.mode" $ -}}
{{- if and (eq (toString .generateCertificates) "true") (ne $mode "cert-manager") -}}
{{- $why := ternary "options.enableSSL=false" "options.certificateVolumeName" (eq $mode "none") -}}
{{- $notes = append $notes (printf "certManager.generateCertificates=true has no effect beside %s" $why) -}}
{{- end -}}
{{- if eq $mode "cert-manager" -}}
{{- if eq (toString $values.options.generateCertificates) "true" -}}
{{- $notes = append $notes "options.generateCertificates=true has no effect: cert-manager makes the certificate" -}}
{{- end -}}
{{- range $key := omit .ca "fields" | keys | sortAlpha -}}
{{- $notes = append $notes (printf "certManager.ca.%s has no effect: set certManager.ca.fields" $key) -}}
{{- end -}}
{{- if and .externalCA.enabled .issuer.name -}}
{{- $notes = append $notes (printf "certManager.externalCA has no effect: the %s %s signs" .issuer.kind .issuer.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $key := list "loadBalancerIP" "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if and (get $values.service $key) (ne $values.service.type "LoadBalancer") -}}
{{- $notes = append $notes (printf "service.%s has no effect with service.type=%s" $key $values.service.type) -}}
{{- end -}}
{{- end -}}
{{- with .Values.service -}}
{{- if and (eq .type "ClusterIP") (or .externalTrafficPolicy (int .nodePort)) -}}
{{- $notes = append $notes "service.externalTrafficPolicy and service.nodePort have no effect with service.type=ClusterIP" -}}
{{- end -}}
{{- end -}}

{{- if eq .Values.kind "Deployment" -}}
{{- range $key := list "hostNetwork" "hostPort" -}}
{{- if get $values.daemonset $key -}}
{{- $notes = append $notes (printf "daemonset.%s has no effect with kind=Deployment" $key) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if and .Values.networkPolicy.enabled .Values.daemonset.hostNetwork -}}
{{- $notes = append $notes "networkPolicy.enabled=true has no effect on pods in the network of their nodes (daemonset.hostNetwork)" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- $notes = append $notes "autoscaling.enabled=true has no effect with kind=DaemonSet: there is one proxy per node" -}}
{{- end -}}
{{- end -}}
{{- if and (ne (int .Values.replicaCount) 1) (or .Values.autoscaling.enabled (eq .Values.kind "DaemonSet")) -}}
{{- $cure := ternary "with kind=DaemonSet" "beside autoscaling: set autoscaling.minReplicas" (eq .Values.kind "DaemonSet") -}}
{{- $notes = append $notes (printf "replicaCount=%d has no effect %s" (int .Values.replicaCount) $cure) -}}
{{- end -}}

{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- $notes = append $notes "serviceMonitor and podMonitor are both enabled: Prometheus reads every metric twice" -}}
{{- end -}}

{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- $notes = append $notes "serviceAccount.create=false without a name: the namespace's ServiceAccount `default`, and so every pod that uses it, gets the proxy's rights" -}}
{{- end -}}

{{- toYaml $notes -}}
{{- end -}}
