{{/* What this release calls itself. `nameOverride` replaces the chart's name in every rule below. */}}
{{- define "ktp.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
<full>: `fullnameOverride`, else the release's name if it already says what runs there, else <release>-<name>.
A release called after Capsule's proxy counts as saying so: Service, Secret, Deployment and ServiceAccount keep their
names when this chart takes over.
*/}}
{{- define "ktp.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if or (contains (include "ktp.name" .) .Release.Name) (contains .Chart.Name .Release.Name) (contains "capsule-proxy" .Release.Name) -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ktp.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
The selector of the workload that runs already, as a YAML map, or nothing. Selectors cannot be changed, so what is there
decides. `helm template` sees no cluster and gets the default.
*/}}
{{- define "ktp.liveSelector" -}}
{{- $live := lookup "apps/v1" .Values.kind .Release.Namespace (include "ktp.fullname" .) -}}
{{- if $live -}}
{{- $live.spec.selector.matchLabels | toYaml -}}
{{- end -}}
{{- end -}}

{{- define "ktp.selectorName" -}}
{{- $live := include "ktp.liveSelector" . | fromYaml -}}
{{- if hasKey $live "app.kubernetes.io/name" -}}
{{- get $live "app.kubernetes.io/name" -}}
{{- else if .Values.nameOverride -}}
{{- include "ktp.name" . -}}
{{- else if contains "capsule-proxy" .Release.Name -}}
capsule-proxy
{{- else -}}
{{- include "ktp.name" . -}}
{{- end -}}
{{- end -}}

{{- define "ktp.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ktp.selectorName" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: proxy
{{- end -}}

{{- define "ktp.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "ktp.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Annotations of one object: those of every object, then its own. Call with (list . <own>). */}}
{{- define "ktp.annotations" -}}
{{- $top := index . 0 -}}
{{- $all := merge (dict) (index . 1 | default dict) $top.Values.customAnnotations -}}
{{- with $all -}}
annotations:
{{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/*
Labels and annotations of one object: those of every object, and those that a section of the values gives it.
Call with (list . <section or nil>).
*/}}
{{- define "ktp.marks" -}}
{{- $top := index . 0 -}}
{{- $own := index . 1 | default dict -}}
labels:
  {{- merge (include "ktp.labels" $top | fromYaml) (get $own "labels" | default dict) | toYaml | nindent 2 }}
{{- with include "ktp.annotations" (list $top (get $own "annotations")) }}
{{ . }}
{{- end }}
{{- end -}}

{{- define "ktp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "ktp.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "ktp.image" -}}
{{- $repository := .Values.image.repository -}}
{{- if .Values.image.registry -}}{{- $repository = printf "%s/%s" .Values.image.registry $repository -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default (printf "v%s" .Chart.AppVersion)) -}}
{{- end -}}
{{- end -}}

{{/* "true" where an autoscaler decides how many replicas there are. */}}
{{- define "ktp.autoscaled" -}}
{{- and .Values.autoscaling.enabled (eq .Values.kind "Deployment") -}}
{{- end -}}

{{/* "true" where there may be more than one replica, side by side for the scheduler to place. */}}
{{- define "ktp.severalReplicas" -}}
{{- $most := .Values.replicaCount -}}
{{- if eq (include "ktp.autoscaled" .) "true" -}}{{- $most = .Values.autoscaling.maxReplicas -}}{{- end -}}
{{- and (eq .Values.kind "Deployment") (gt (int $most) 1) -}}
{{- end -}}

{{/* A map of the incumbent's kind, with its `enabled` taken out: nothing where `enabled` is false. */}}
{{- define "ktp.enabledMap" -}}
{{- if ne (toString (get . "enabled")) "false" -}}
{{- with omit . "enabled" -}}{{- toYaml . -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration file: `config`, with the issuer of `entra` put first. Nothing where neither says anything. */}}
{{- define "ktp.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.entra.tenantId -}}
{{- $entra := dict "tenantId" .Values.entra.tenantId -}}
{{- if .Values.entra.cloud -}}{{- $_ := set $entra "cloud" .Values.entra.cloud -}}{{- end -}}
{{- $authentication := get $config "authentication" | default dict -}}
{{- $_ := set $authentication "jwt" (prepend (get $authentication "jwt" | default list) (dict "entra" $entra)) -}}
{{- $_ := set $config "authentication" $authentication -}}
{{- end -}}
{{- if $config -}}{{- toYaml $config -}}{{- end -}}
{{- end -}}

{{/* The issuers in the configuration file, the one of `entra` among them, as a YAML list. */}}
{{- define "ktp.issuers" -}}
{{- $config := include "ktp.config" . | fromYaml -}}
{{- (get $config "authentication" | default dict).jwt | default $config.jwt | default list | toYaml -}}
{{- end -}}

{{/* "true" unless the configuration switches TokenReview off. */}}
{{- define "ktp.tokenReview" -}}
{{- $authentication := get .Values.config "authentication" | default dict -}}
{{- $tokenReview := get $authentication "tokenReview" | default dict -}}
{{- ne (toString (get $tokenReview "enabled")) "false" -}}
{{- end -}}

{{- define "ktp.scheme" -}}
{{- if .Values.options.enableSSL -}}https{{- else -}}http{{- end -}}
{{- end -}}
