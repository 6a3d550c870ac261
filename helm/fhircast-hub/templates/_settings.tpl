{{/* The settings of both programs: what `settings` says, and what follows from the other values. */}}

{{/* All of them, as YAML. */}}
{{- define "fhircast.settings" -}}
{{- $root := . -}}
{{- $settings := deepCopy .Values.settings -}}
{{- range $group, $certificate := .Values.certificates }}
{{- $at := printf "/etc/fhircast/certificates/%s" $group }}
{{- $settingsOfGroup := get $settings $group | default dict }}
{{- if include "fhircast.certificateSecret" (dict "root" $root "group" $group) }}
{{- $_ := set $settingsOfGroup "cert" (printf "%s/tls.crt" $at) }}
{{- $_ := set $settingsOfGroup "key" (printf "%s/tls.key" $at) }}
{{- end }}
{{- if or $certificate.ca.existingSecret $certificate.ca.existingConfigMap }}
{{- $name := ternary "client_ca_file" "ca_file" (has $group (list "tls" "admin_tls")) }}
{{- $_ := set $settingsOfGroup $name (printf "%s/ca.crt" $at) }}
{{- end }}
{{- if $settingsOfGroup }}
{{- $_ := set $settings $group $settingsOfGroup }}
{{- end }}
{{- end }}
{{- if .Values.secrets.data_keys_file.existingSecret }}
{{- $_ := set $settings "data_keys_file" "/etc/fhircast/secrets/data-keys" }}
{{- end }}
{{- if .Values.trialRedis.enabled }}
{{- $redis := get $settings "redis" | default dict }}
{{- $_ := set $redis "url" (printf "redis://%s-redis:6379" (include "fhircast.fullname" .)) }}
{{- $_ := set $settings "redis" $redis }}
{{- end }}
{{- if not (get $settings "public_url") }}
{{- with include "fhircast.publicUrl" . }}
{{- $_ := set $settings "public_url" . }}
{{- end }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{/* The URL by which clients reach the hub, as far as the ingress or the route tells; empty: they do not. */}}
{{- define "fhircast.publicUrl" -}}
{{- if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{ ternary "https" "http" .Values.ingress.tls.enabled }}://{{ first .Values.ingress.hosts }}
{{- else if and .Values.gateway.enabled .Values.gateway.hosts -}}
{{ ternary "https" "http" .Values.gateway.tls }}://{{ first .Values.gateway.hosts }}
{{- end -}}
{{- end }}

{{/* A setting by its group and name, or what it is by default. Takes settings, group (empty: none), name and default. */}}
{{- define "fhircast.setting" -}}
{{- $settingsOfGroup := .settings -}}
{{- if .group }}{{ $settingsOfGroup = get .settings .group | default dict }}{{ end -}}
{{- if hasKey $settingsOfGroup .name }}{{ include "fhircast.plain" (get $settingsOfGroup .name) }}{{ else }}{{ .default }}{{ end -}}
{{- end }}

{{/* A single value as text: numbers of values files are floating, and would be written with exponents. */}}
{{- define "fhircast.plain" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ printf "%d" (int64 .) }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end }}

{{/* The settings as TOML: first those without a group. Takes the settings. */}}
{{- define "fhircast.toml" -}}
{{- range $name, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $name }} = {{ include "fhircast.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $group, $settings := . }}
{{- if kindIs "map" $settings }}

[{{ $group }}]
{{- range $name, $value := $settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }} = {{ include "fhircast.tomlValue" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* One value as TOML; a text of JSON is one of TOML. */}}
{{- define "fhircast.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $at, $element := . }}{{ if $at }}, {{ end }}{{ include "fhircast.tomlValue" $element }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else -}}
{{ include "fhircast.plain" . }}
{{- end -}}
{{- end }}

{{/* The number of the port in an address. */}}
{{- define "fhircast.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{/* Secret settings that come as variables: a list of setting, existingSecret and key, as YAML. */}}
{{- define "fhircast.secretVariables" -}}
{{- $all := dict "redis.url" .Values.secrets.redis.url "redis.password" .Values.secrets.redis.password "redis.sentinel_password" .Values.secrets.redis.sentinel_password "auth.client_secret" .Values.secrets.auth.client_secret "tracing.headers" .Values.secrets.tracing.headers -}}
{{- $all = merge $all (deepCopy .Values.extraSecrets) -}}
{{- $found := list -}}
{{- range $setting, $secret := $all }}
{{- if $secret.existingSecret }}
{{- $found = append $found (dict "setting" $setting "existingSecret" $secret.existingSecret "key" $secret.key) }}
{{- end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* The variable that gives a setting. */}}
{{- define "fhircast.variable" -}}
FHIRCAST_{{ . | replace "." "__" | upper }}
{{- end }}
