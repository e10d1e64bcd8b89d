{{/* One sentence per value that is set and has no effect, as a YAML list. */}}
{{- define "ktp.notes.values" -}}
{{- $notes := list -}}

{{- with .Values.apiPriorityAndFairness.flowApiVersion -}}
{{- if ne . "flowcontrol.apiserver.k8s.io/v1" -}}
{{- $notes = append $notes (printf "apiPriorityAndFairness.flowApiVersion=%s has no effect: flowcontrol.apiserver.k8s.io/v1 is used" .) -}}
{{- end -}}
{{- end -}}

{{- with .Values.certManager -}}
{{- $mode := include "ktp.certificate.mode" $ -}}
{{- if and (eq (toString .generateCertificates) "true") (ne $mode "cert-manager") -}}
{{- $why := ternary "options.enableSSL=false" "options.certificateVolumeName" (eq $mode "none") -}}
{{- $notes = append $notes (printf "certManager.generateCertificates=true has no effect beside %s" $why) -}}
{{- end -}}
{{- if eq $mode "cert-manager" -}}
{{- if eq (toString $.Values.options.generateCertificates) "true" -}}
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

{{- range $key := list "trustedProxyCidrs" "ignoredImpersonationGroups" "impersonationGroupRegexp" -}}
{{- if get $.Values.options $key -}}
{{- $why := ternary "certificates that a proxy in front forwards are not accepted by this version" "requests that impersonate are not served by this version" (eq $key "trustedProxyCidrs") -}}
{{- $notes = append $notes (printf "options.%s has no effect: %s" $key $why) -}}
{{- end -}}
{{- end -}}

{{- if .Values.rbac.clusterRole -}}
{{- $notes = append $notes (printf "rbac.clusterRole=%s is not bound: the proxy's ServiceAccount must be able to list nothing itself" .Values.rbac.clusterRole) -}}
{{- end -}}

{{- $defaults := dict "leaderElection" "false" "rolebindingsResyncPeriod" "10h" "disableCaching" "false" "clientConnectionQPS" "20" "clientConnectionBurst" "30" "pprof" "false" "webhookPort" "9443" -}}
{{- range $key := keys $defaults | sortAlpha -}}
{{- if and (hasKey $.Values.options $key) (ne (toString (get $.Values.options $key)) (get $defaults $key)) -}}
{{- $notes = append $notes (printf "options.%s has no effect" $key) -}}
{{- end -}}
{{- end -}}

{{- with .Values.serviceMonitor -}}
{{- if and .enabled (or (dig "serviceAccount" "name" "" .) (dig "serviceAccount" "namespace" "" .)) -}}
{{- $notes = append $notes "serviceMonitor.serviceAccount has no effect: no Role is made for Prometheus, which brings its own" -}}
{{- end -}}
{{- if and .enabled $.Values.podMonitor.enabled -}}
{{- $notes = append $notes "serviceMonitor and podMonitor are both enabled: Prometheus reads every metric twice" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (eq .Values.kind "DaemonSet") .Values.daemonset.hostNetwork -}}
{{- $notes = append $notes "networkPolicy.enabled=true has no effect on pods in the network of their nodes (daemonset.hostNetwork)" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if ne .Values.kind "Deployment" -}}
{{- $notes = append $notes (printf "autoscaling.enabled=true has no effect with kind=%s: there is one proxy per node" .Values.kind) -}}
{{- else if ne (int .Values.replicaCount) 1 -}}
{{- $notes = append $notes (printf "replicaCount=%d has no effect beside autoscaling: set autoscaling.minReplicas" (int .Values.replicaCount)) -}}
{{- end -}}
{{- end -}}
{{- if (get .Values "webhooks" | default dict).enabled -}}
{{- $notes = append $notes "webhooks.enabled=true has no effect: the proxy needs no admission webhook" -}}
{{- end -}}
{{- if (get .Values "gangplank" | default dict).enabled -}}
{{- $notes = append $notes "gangplank.enabled=true renders nothing: hand out the kubeconfig of the cluster with the address above as its server" -}}
{{- end -}}
{{- if get .Values "hostNetwork" -}}
{{- $notes = append $notes "hostNetwork has no effect: set daemonset.hostNetwork" -}}
{{- end -}}
{{- $crds := get .Values "crds" | default dict -}}
{{- if eq (toString (get $crds "install")) "false" -}}
{{- $notes = append $notes "crds.install=false has no effect: `helm install --skip-crds` leaves the CRDs out" -}}
{{- end -}}

{{- if not .Values.serviceAccount.create -}}
{{- if not .Values.serviceAccount.name -}}
{{- $notes = append $notes "serviceAccount.create=false without a name: the namespace's ServiceAccount `default`, and so every pod that uses it, gets the proxy's rights" -}}
{{- end -}}
{{- end -}}

{{- toYaml $notes -}}
{{- end -}}
