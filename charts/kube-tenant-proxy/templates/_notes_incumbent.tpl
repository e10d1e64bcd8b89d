{{/*
One sentence per value of Capsule's proxy that is set and does something else here, or nothing, as a YAML list. Which
values these are, and what is said, is in files/incumbent.yaml.
*/}}
{{- define "ktp.notes.incumbent" -}}
{{- $notes := list -}}
{{- range $row := .Files.Get "files/incumbent.yaml" | fromYamlArray -}}
{{- $value := include "ktp.valueAt" (list $.Values $row.key) | fromJson -}}
{{- $beside := or (not $row.beside) (include "ktp.valueAt" (list $.Values ($row.beside | default "")) | fromJson).it -}}
{{- $changed := ternary (not (has (toString $value.it) ($row.defaults | default list))) (not (empty $value.it)) (hasKey $row "defaults") -}}
{{- if and $value.there $changed $beside (ne ($row.only | default "") "check") -}}
{{- $shown := ternary "" (printf "=%s" (toString $value.it)) (or (kindIs "map" $value.it) (kindIs "slice" $value.it)) -}}
{{- $notes = append $notes (printf "%s%s %s" $row.key $shown $row.note) -}}
{{- end -}}
{{- end -}}
{{- toYaml $notes -}}
{{- end -}}

{{/* The value at a path, as JSON: `it`, and whether it is `there`. Call with (list <values> <path>). */}}
{{- define "ktp.valueAt" -}}
{{- $value := index . 0 -}}
{{- $there := true -}}
{{- range splitList "." (index . 1) -}}
{{- if kindIs "map" $value -}}
{{- $value = index $value . -}}
{{- else -}}
{{- $there = false -}}
{{- end -}}
{{- end -}}
{{- dict "it" $value "there" (and $there (not (kindIs "invalid" $value))) | toJson -}}
{{- end -}}
