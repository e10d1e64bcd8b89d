{{/* One sentence per value of Capsule's proxy that is set and has no effect here, as a YAML list. */}}
{{- define "ktp.notes.incumbent" -}}
{{- $notes := list -}}
{{- $options := .Values.options -}}

{{- range $key := list "trustedProxyCidrs" "ignoredImpersonationGroups" "impersonationGroupRegexp" -}}
{{- if get $options $key -}}
{{- $why := ternary "certificates that a proxy in front forwards are not accepted by this version" "requests that impersonate are not served by this version" (eq $key "trustedProxyCidrs") -}}
{{- $notes = append $notes (printf "options.%s has no effect: %s" $key $why) -}}
{{- end -}}
{{- end -}}

{{- if .Values.rbac.clusterRole -}}
{{- $notes = append $notes (printf "rbac.clusterRole=%s is not bound: the proxy's ServiceAccount must be able to list nothing itself" .Values.rbac.clusterRole) -}}
{{- end -}}

{{- $defaults := dict "leaderElection" "false" "rolebindingsResyncPeriod" "10h" "disableCaching" "false" "clientConnectionQPS" "20" "clientConnectionBurst" "30" "pprof" "false" "webhookPort" "9443" -}}
{{- range $key := keys $defaults | sortAlpha -}}
{{- if and (hasKey $options $key) (ne (toString (get $options $key)) (get $defaults $key)) -}}
{{- $notes = append $notes (printf "options.%s has no effect" $key) -}}
{{- end -}}
{{- end -}}

{{- $account := .Values.serviceMonitor.serviceAccount | default dict -}}
{{- if and .Values.serviceMonitor.enabled (or $account.name $account.namespace) -}}
{{- $notes = append $notes "serviceMonitor.serviceAccount has no effect: no Role is made for Prometheus, which brings its own" -}}
{{- end -}}
{{- $version := .Values.apiPriorityAndFairness.flowApiVersion | default "flowcontrol.apiserver.k8s.io/v1" -}}
{{- if ne $version "flowcontrol.apiserver.k8s.io/v1" -}}
{{- $notes = append $notes (printf "apiPriorityAndFairness.flowApiVersion=%s has no effect: flowcontrol.apiserver.k8s.io/v1 is used" $version) -}}
{{- end -}}

{{- if (.Values.webhooks | default dict).enabled -}}
{{- $notes = append $notes "webhooks.enabled=true has no effect: the proxy needs no admission webhook" -}}
{{- end -}}
{{- if (.Values.gangplank | default dict).enabled -}}
{{- $notes = append $notes "gangplank.enabled=true renders nothing: hand out the kubeconfig of the cluster with the address above as its server" -}}
{{- end -}}
{{- if (.Values.httproute | default dict).enabled -}}
{{- $notes = append $notes "httproute.enabled=true renders nothing, since an HTTPRoute ends TLS in the gateway: set gatewayApi.tlsRoute" -}}
{{- end -}}
{{- if .Values.hostNetwork -}}
{{- $notes = append $notes "hostNetwork has no effect: set daemonset.hostNetwork" -}}
{{- end -}}

{{- $crds := .Values.crds | default dict -}}
{{- if eq (toString $crds.install) "false" -}}
{{- $notes = append $notes "crds.install=false has no effect: `helm install --skip-crds` leaves the CRDs out" -}}
{{- end -}}
{{- if eq (toString $crds.keep) "false" -}}
{{- $notes = append $notes "crds.keep=false has no effect: Helm keeps CRDs, and with them every ProxySetting and GlobalProxySettings" -}}
{{- end -}}
{{- range $key := list "labels" "annotations" "annnotations" -}}
{{- if get $crds $key -}}
{{- $notes = append $notes (printf "crds.%s has no effect: Helm installs CRDs as they are" $key) -}}
{{- end -}}
{{- end -}}
{{- if or (.Values.global | default dict).jobs (.Values.jobs | default dict).certs -}}
{{- $notes = append $notes "global.jobs and jobs have no effect: the chart runs no jobs" -}}
{{- end -}}

{{- toYaml $notes -}}
{{- end -}}
