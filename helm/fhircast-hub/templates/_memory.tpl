{{/* The alert on memory, which goes by what pods may have. */}}

{{/* An amount of memory (`1536Mi`, `2Gi`, `2G`, bytes) as PromQL: `1536 * 1024 * 1024`. */}}
{{- define "fhircast.bytes" -}}
{{- $amount := include "fhircast.plain" . -}}
{{- $number := regexFind "^[0-9.]+" $amount -}}
{{- $unit := trimPrefix $number $amount -}}
{{- $factors := dict "k" "1000" "M" "1000 * 1000" "G" "1000 * 1000 * 1000" "T" "1000 * 1000 * 1000 * 1000" "Ki" "1024" "Mi" "1024 * 1024" "Gi" "1024 * 1024 * 1024" "Ti" "1024 * 1024 * 1024 * 1024" -}}
{{- if not $unit -}}
{{- $number -}}
{{- else if hasKey $factors $unit -}}
{{- $number }} * {{ get $factors $unit -}}
{{- else -}}
{{- fail (printf "resources.limits.memory is %s: name it in bytes, Ki, Mi, Gi, k, M or G" $amount) -}}
{{- end -}}
{{- end }}

{{/*
Puts the limits of these values in the place of the chart's own, which are 2 GiB for a hub and 1 GiB for a worker; of a program
without a limit the threshold stays. Takes root, rule and annotations, and changes these two.
*/}}
{{- define "fhircast.memoryAlert" -}}
{{- $rule := .rule -}}
{{- $annotations := .annotations -}}
{{- $known := dict "hub" "2 * 1024 * 1024 * 1024" "worker" "1024 * 1024 * 1024" -}}
{{- $said := dict "hub" "a hub have 2 GiB" "worker" "a worker 1 GiB" -}}
{{- range $component, $before := $known -}}
{{- $limit := get (get (index $.root.Values $component).resources "limits" | default dict) "memory" -}}
{{- if and $limit (ne (toString $limit) (ternary "2Gi" "1Gi" (eq $component "hub"))) -}}
{{- $selected := printf "{job=\"fhircast-%s\"} > 0.8 * " $component -}}
{{- $_ := set $rule "expr" ($rule.expr | replace (print $selected $before) (print $selected (include "fhircast.bytes" $limit))) -}}
{{- $amount := include "fhircast.plain" $limit -}}
{{- $text := ternary (printf "a hub have %s" $amount) (printf "a worker %s" $amount) (eq $component "hub") -}}
{{- $_ := set $annotations "description" ($annotations.description | replace (get $said $component) $text) -}}
{{- end -}}
{{- end -}}
{{- end }}
