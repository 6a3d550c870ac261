{{/* What the network policies would hold back although the settings, or the proxy in front, need it. */}}

{{- define "fhircast.networkMistakes" -}}
{{- $mistakes := list -}}
{{- $policy := .Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- $settings := include "fhircast.settings" . | fromYaml -}}
{{- $tracing := get $settings "tracing" | default dict -}}
{{- $auth := get $settings "auth" | default dict -}}
{{- if not $policy.clients -}}
{{- $mistakes = append $mistakes "networkPolicy.clients is empty: nobody would reach the hubs. Name the namespace of the ingress controller, or who else comes" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.controller "alb") -}}
{{- $networks := false -}}
{{- range $policy.scrapers }}{{ if hasKey . "ipBlock" }}{{ $networks = true }}{{ end }}{{ end -}}
{{- if not $networks -}}
{{- $mistakes = append $mistakes "networkPolicy.scrapers has no ipBlock: an ALB asks /readyz from its subnets, and would take every hub for dead" -}}
{{- end -}}
{{- end -}}
{{- if not .Values.trialRedis.enabled -}}
{{- range $port := include "fhircast.redisPorts" (get (get $settings "redis" | default dict) "url" | default "") | fromYamlArray -}}
{{- if not (include "fhircast.leavesBy" (dict "root" $ "ports" $policy.redis.ports "port" $port)) -}}
{{- $mistakes = append $mistakes (printf "networkPolicy.redis.ports lacks %s, which settings.redis.url names" $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $mode := get $auth "mode" | default "off" -}}
{{- $asked := ternary "introspection_url" "jwks" (eq $mode "introspection") -}}
{{- $url := get $auth $asked | default "" -}}
{{- if and (ne $mode "off") (contains "://" $url) -}}
{{- $port := include "fhircast.urlPort" $url -}}
{{- if not (include "fhircast.leavesBy" (dict "root" $ "ports" $policy.authorizationServer.ports "port" $port)) -}}
{{- $mistakes = append $mistakes (printf "networkPolicy.authorizationServer.ports lacks %s, which settings.auth.%s names" $port $asked) -}}
{{- end -}}
{{- end -}}
{{- if get $tracing "otlp_endpoint" -}}
{{- $port := include "fhircast.urlPort" $tracing.otlp_endpoint -}}
{{- if not $policy.otlp.to -}}
{{- $mistakes = append $mistakes "networkPolicy.otlp.to is empty: no trace would reach settings.tracing.otlp_endpoint" -}}
{{- else if not (include "fhircast.leavesBy" (dict "root" $ "ports" $policy.otlp.ports "port" $port)) -}}
{{- $mistakes = append $mistakes (printf "networkPolicy.otlp.ports lacks %s, which settings.tracing.otlp_endpoint names" $port) -}}
{{- end -}}
{{- end -}}
{{- $servers := get (get $settings "callbacks" | default dict) "dns_servers" | default list -}}
{{- $networks := or (not $policy.dns.to) $policy.extraEgress -}}
{{- range $policy.dns.to }}{{ if hasKey . "ipBlock" }}{{ $networks = true }}{{ end }}{{ end -}}
{{- if and $servers (not $networks) -}}
{{- $mistakes = append $mistakes "networkPolicy.dns.to has no ipBlock: settings.callbacks.dns_servers are addresses, which no pod would reach" -}}
{{- end -}}
{{- range $servers -}}
{{- $port := include "fhircast.port" . -}}
{{- if not (include "fhircast.leavesBy" (dict "root" $ "ports" $policy.dns.ports "port" $port)) -}}
{{- $mistakes = append $mistakes (printf "networkPolicy.dns.ports lacks %s, which settings.callbacks.dns_servers names" $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes }}
{{- end }}

{{/* Whether one of these ports, or a rule of `extraEgress`, lets pods out to a port: yes, or nothing. Takes root, ports, port. */}}
{{- define "fhircast.leavesBy" -}}
{{- $port := int .port -}}
{{- $found := not .ports -}}
{{- range .ports }}{{ if eq (int .) $port }}{{ $found = true }}{{ end }}{{ end -}}
{{- range .root.Values.networkPolicy.extraEgress -}}
{{- $ports := get . "ports" -}}
{{- if not $ports }}{{ $found = true }}{{ end -}}
{{- range $ports -}}
{{- $first := int (get . "port" | default 0) -}}
{{- $last := int (get . "endPort" | default $first) -}}
{{- if or (not (hasKey . "port")) (and (le $first $port) (le $port $last)) }}{{ $found = true }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if $found }}yes{{ end -}}
{{- end }}

{{/* The port of a URL of http or https. */}}
{{- define "fhircast.urlPort" -}}
{{- $host := first (regexSplit "[/?#]" (last (splitList "://" .)) 2) -}}
{{- $port := regexFind ":[0-9]+$" $host -}}
{{- if $port }}{{ trimPrefix ":" $port }}{{ else }}{{ ternary "443" "80" (hasPrefix "https" .) }}{{ end -}}
{{- end }}

{{/* The ports that a URL of Redis names, each once, as texts; of an empty one none. */}}
{{- define "fhircast.redisPorts" -}}
{{- $ports := list -}}
{{- if . -}}
{{- $usual := ternary "26379" "6379" (contains "+sentinel" .) -}}
{{- $hosts := last (splitList "@" (first (regexSplit "[/?#]" (last (splitList "://" .)) 2))) -}}
{{- range splitList "," $hosts -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default $usual) -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $ports) }}
{{- end }}
