{{/* What contradicts itself, or would be open by mistake: all of it is said at once, and nothing is made. */}}
{{- define "fhircast.checks" -}}
{{- $mistakes := concat (include "fhircast.redisMistakes" . | fromYamlArray) (include "fhircast.secretMistakes" . | fromYamlArray) (include "fhircast.exposureMistakes" . | fromYamlArray) (include "fhircast.networkMistakes" . | fromYamlArray) (include "fhircast.podMistakes" . | fromYamlArray) (include "fhircast.alertMistakes" . | fromYamlArray) -}}
{{- if $mistakes }}
{{- fail (printf "\n  %s\n" (join "\n  " $mistakes)) }}
{{- end }}
{{- end }}

{{- define "fhircast.redisMistakes" -}}
{{- $mistakes := list -}}
{{- $redis := get .Values.settings "redis" | default dict -}}
{{- $urls := list -}}
{{- if get $redis "url" }}{{ $urls = append $urls "settings.redis.url" }}{{ end -}}
{{- if .Values.secrets.redis.url.existingSecret }}{{ $urls = append $urls "secrets.redis.url" }}{{ end -}}
{{- if .Values.trialRedis.enabled }}{{ $urls = append $urls "trialRedis.enabled" }}{{ end -}}
{{- if not $urls }}
{{- $mistakes = append $mistakes "there is no Redis: set settings.redis.url (redis://host:6379, redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379; rediss for TLS), or secrets.redis.url.existingSecret, or, for a trial, trialRedis.enabled" }}
{{- else if gt (len $urls) 1 }}
{{- $mistakes = append $mistakes (printf "there is more than one Redis: %s" (join " and " $urls)) }}
{{- end }}
{{- if .Values.trialRedis.enabled }}
{{- range list "password" "sentinel_password" }}
{{- if (index $.Values.secrets.redis .).existingSecret }}
{{- $mistakes = append $mistakes (printf "secrets.redis.%s and trialRedis.enabled: the Redis for trials has no password" .) }}
{{- end }}
{{- end }}
{{- if or .Values.certificates.redis.existingSecret .Values.certificates.redis.ca.existingSecret .Values.certificates.redis.ca.existingConfigMap }}
{{- $mistakes = append $mistakes "certificates.redis and trialRedis.enabled: the Redis for trials speaks no TLS" }}
{{- end }}
{{- end }}
{{- toYaml $mistakes }}
{{- end }}

{{- define "fhircast.secretMistakes" -}}
{{- $mistakes := list -}}
{{- $secret := include "fhircast.secretNames" . | fromYamlArray -}}
{{- range $where, $variables := dict "extraEnv" .Values.extraEnv "hub.extraEnv" .Values.hub.extraEnv "worker.extraEnv" .Values.worker.extraEnv }}
{{- range $variables }}
{{- if and (hasKey . "value") (has .name $secret) }}
{{- $mistakes = append $mistakes (printf "%s: %s is secret, and everybody who may read manifests could read it: name its Secret in `secrets`" $where .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $setting, $_ := .Values.extraSecrets }}
{{- $group := "" }}
{{- $name := $setting }}
{{- if contains "." $setting }}
{{- $group = first (splitList "." $setting) }}
{{- $name = last (splitList "." $setting) }}
{{- end }}
{{- $settings := $.Values.settings }}
{{- if $group }}{{ $settings = get $.Values.settings $group | default dict }}{{ end }}
{{- if hasKey $settings $name }}
{{- $mistakes = append $mistakes (printf "settings.%s and extraSecrets: only one of them can be" $setting) }}
{{- end }}
{{- end }}
{{- if and .Values.secrets.data_keys_file.existingSecret (hasKey .Values.settings "data_keys_file") }}
{{- $mistakes = append $mistakes "settings.data_keys_file and secrets.data_keys_file: only one of them can be" }}
{{- end }}
{{- range $group, $certificate := .Values.certificates }}
{{- $settings := get $.Values.settings $group | default dict }}
{{- if include "fhircast.certificateSecret" (dict "root" $ "group" $group) }}
{{- if or (hasKey $settings "cert") (hasKey $settings "key") }}
{{- $mistakes = append $mistakes (printf "settings.%s.cert and certificates.%s: only one of them can be" $group $group) }}
{{- end }}
{{- end }}
{{- $manager := get $certificate "certManager" | default dict }}
{{- if and (get $manager "enabled") $certificate.existingSecret }}
{{- $mistakes = append $mistakes (printf "certificates.%s.existingSecret and certificates.%s.certManager.enabled: cert-manager would overwrite that Secret; only one of them can be" $group $group) }}
{{- end }}
{{- if and (get $manager "enabled") (not (get (get $manager "issuerRef" | default dict) "name")) }}
{{- $mistakes = append $mistakes (printf "certificates.%s.certManager.issuerRef.name: who issues the certificate?" $group) }}
{{- end }}
{{- if and $certificate.ca.existingSecret $certificate.ca.existingConfigMap }}
{{- $mistakes = append $mistakes (printf "certificates.%s.ca: a Secret or a ConfigMap, not both" $group) }}
{{- end }}
{{- if and (or $certificate.ca.existingSecret $certificate.ca.existingConfigMap) (or (hasKey $settings "ca_file") (hasKey $settings "client_ca_file")) }}
{{- $mistakes = append $mistakes (printf "settings.%s and certificates.%s.ca: only one of them can name the authorities" $group $group) }}
{{- end }}
{{- end }}
{{- $mode := include "fhircast.setting" (dict "settings" .Values.settings "group" "auth" "name" "mode" "default" "off") }}
{{- if and (eq $mode "introspection") (not .Values.secrets.auth.client_secret.existingSecret) }}
{{- $mistakes = append $mistakes "settings.auth.mode is introspection, which needs secrets.auth.client_secret.existingSecret" }}
{{- end }}
{{- toYaml $mistakes }}
{{- end }}

{{/* The variables of settings that are secret. */}}
{{- define "fhircast.secretNames" -}}
{{- $names := list "FHIRCAST_DATA_KEYS" "FHIRCAST_REDIS__URL" "FHIRCAST_REDIS__PASSWORD" "FHIRCAST_REDIS__SENTINEL_PASSWORD" "FHIRCAST_AUTH__CLIENT_SECRET" "FHIRCAST_TRACING__HEADERS" -}}
{{- range $setting, $_ := .Values.extraSecrets }}
{{- $names = append $names (include "fhircast.variable" $setting) }}
{{- end }}
{{- toYaml $names }}
{{- end }}

{{- define "fhircast.exposureMistakes" -}}
{{- $mistakes := list -}}
{{- $settings := include "fhircast.settings" . | fromYaml -}}
{{- $hasAuth := ne (include "fhircast.setting" (dict "settings" $settings "group" "auth" "name" "mode" "default" "off")) "off" -}}
{{- $hasTls := hasKey (get $settings "tls" | default dict) "cert" -}}
{{- if regexMatch "^(127\\.|\\[::1\\])" $settings.listen }}
{{- $mistakes = append $mistakes (printf "settings.listen is %s: a pod is reached from elsewhere, so 0.0.0.0:8080 or [::]:8080" $settings.listen) }}
{{- end }}
{{- if regexMatch "^(127\\.|\\[::1\\])" $settings.admin_listen }}
{{- $mistakes = append $mistakes (printf "settings.admin_listen is %s: kubelet's probes come from elsewhere, so 0.0.0.0:9100 or [::]:9100" $settings.admin_listen) }}
{{- end }}
{{- if not $settings.insecure }}
{{- if not $hasAuth }}
{{- $mistakes = append $mistakes "settings.auth.mode is off: whoever reaches the hub may read and change every session. Set it to jwt or introspection; or, if that is meant, settings.insecure: true" }}
{{- end }}
{{- if not $hasTls }}
{{- $mistakes = append $mistakes "the hub has no certificate: set certificates.tls.existingSecret or certificates.tls.certManager.enabled; or, if pods are reached by an ingress or a mesh that encrypts alone, settings.insecure: true" }}
{{- end }}
{{- end }}
{{- $doors := list }}
{{- if .Values.ingress.enabled }}{{ $doors = append $doors "ingress" }}{{ end }}
{{- if .Values.gateway.enabled }}{{ $doors = append $doors "gateway" }}{{ end }}
{{- if ne .Values.service.type "ClusterIP" }}{{ $doors = append $doors (printf "service.type: %s" .Values.service.type) }}{{ end }}
{{- $plain := list }}
{{- if and .Values.ingress.enabled (not .Values.ingress.tls.enabled) }}{{ $plain = append $plain "ingress" }}{{ end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.tls) }}{{ $plain = append $plain "gateway" }}{{ end }}
{{- if and (ne .Values.service.type "ClusterIP") (not $hasTls) }}{{ $plain = append $plain (printf "service.type: %s" .Values.service.type) }}{{ end }}
{{- if not .Values.exposeInsecure }}
{{- if and $doors (not $hasAuth) }}
{{- $mistakes = append $mistakes (printf "the hub is opened to the outside (%s) while settings.auth.mode is off: settings.insecure is not enough for that. Say it a second time, if it is meant, with exposeInsecure: true" (join ", " $doors)) }}
{{- end }}
{{- if $plain }}
{{- $mistakes = append $mistakes (printf "the hub is opened to the outside without TLS (%s): settings.insecure is not enough for that. Say it a second time, if it is meant, with exposeInsecure: true" (join ", " $plain)) }}
{{- end }}
{{- end }}
{{- if .Values.ingress.enabled }}
{{- if not .Values.ingress.hosts }}
{{- $mistakes = append $mistakes "ingress.hosts is empty: an ingress without a host takes what is meant for others" }}
{{- end }}
{{- $ping := include "fhircast.setting" (dict "settings" $settings "name" "ping_secs" "default" 20) }}
{{- if le (int .Values.ingress.idleSeconds) (mul 2 (int $ping) | int) }}
{{- $mistakes = append $mistakes (printf "ingress.idleSeconds is %d: an idle WebSocket is known by a ping every %s s (settings.ping_secs), so it must be more than two of them" (int .Values.ingress.idleSeconds) $ping) }}
{{- end }}
{{- if and (eq .Values.ingress.controller "alb") (gt (int .Values.ingress.idleSeconds) 4000) }}
{{- $mistakes = append $mistakes (printf "ingress.idleSeconds is %d: an ALB has 4000 at most" (int .Values.ingress.idleSeconds)) }}
{{- end }}
{{- end }}
{{- if .Values.gateway.enabled }}
{{- if not .Values.gateway.hosts }}
{{- $mistakes = append $mistakes "gateway.hosts is empty: a route without a host takes what is meant for others" }}
{{- end }}
{{- if not .Values.gateway.parentRefs }}
{{- $mistakes = append $mistakes "gateway.parentRefs is empty: which Gateway is the route for?" }}
{{- end }}
{{- end }}
{{- toYaml $mistakes }}
{{- end }}

{{- define "fhircast.podMistakes" -}}
{{- $mistakes := list -}}
{{- $settings := include "fhircast.settings" . | fromYaml -}}
{{- range $component := list "hub" "worker" }}
{{- $values := index $.Values $component }}
{{- $needed := include "fhircast.stopSeconds" (dict "root" $ "component" $component "settings" $settings) | int }}
{{- if and $values.terminationGracePeriodSeconds (lt (int $values.terminationGracePeriodSeconds) $needed) }}
{{- $mistakes = append $mistakes (printf "%s.terminationGracePeriodSeconds is %d: to stop takes up to %d s (the sleep before, settings.drain_secs, and 15 s)" $component (int $values.terminationGracePeriodSeconds) $needed) }}
{{- end }}
{{- $autoscaling := $values.autoscaling }}
{{- if $autoscaling.enabled }}
{{- if gt (int $autoscaling.minReplicas) (int $autoscaling.maxReplicas) }}
{{- $mistakes = append $mistakes (printf "%s.autoscaling.minReplicas is more than maxReplicas" $component) }}
{{- end }}
{{- if and $autoscaling.targetCPUPercent (not (get (get $values.resources "requests" | default dict) "cpu")) }}
{{- $mistakes = append $mistakes (printf "%s.autoscaling.targetCPUPercent is a part of %s.resources.requests.cpu, which is not set" $component $component) }}
{{- end }}
{{- $targets := list "targetCPUPercent" (ternary "targetConnections" "targetDueOldestSeconds" (eq $component "hub")) "targetDueSubscriptions" }}
{{- $found := false }}
{{- range $targets }}{{ if get $autoscaling . }}{{ $found = true }}{{ end }}{{ end }}
{{- if not $found }}
{{- $mistakes = append $mistakes (printf "%s.autoscaling has no target" $component) }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq (include "fhircast.setting" (dict "settings" $settings "group" "admin_tls" "name" "client_auth" "default" "off")) "required" }}
{{- if and .Values.monitoring.serviceMonitor.enabled (not .Values.monitoring.serviceMonitor.tlsConfig) }}
{{- $mistakes = append $mistakes "settings.admin_tls.client_auth is required, and Prometheus has no certificate to show: set monitoring.serviceMonitor.tlsConfig" }}
{{- end }}
{{- if and .Values.ingress.enabled (eq .Values.ingress.controller "alb") }}
{{- $mistakes = append $mistakes "settings.admin_tls.client_auth is required, and an ALB has no certificate to show when it asks /readyz: set it to optional" }}
{{- end }}
{{- end }}
{{- $audit := get $settings "audit" | default dict }}
{{- $to := get $audit "to" | default "off" }}
{{- if contains "/" $to }}
{{- $isWritable := false }}
{{- range .Values.extraVolumeMounts }}
{{- if and (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $to) (not (get . "readOnly")) }}{{ $isWritable = true }}{{ end }}
{{- end }}
{{- if not $isWritable }}
{{- $mistakes = append $mistakes (printf "settings.audit.to is %s, and the pods' file system is read-only: name stdout, or a path on a volume of extraVolumeMounts that each pod has for itself" $to) }}
{{- end }}
{{- end }}
{{- toYaml $mistakes }}
{{- end }}

{{/* Names of alerts that are to be left out, and that there are not. */}}
{{- define "fhircast.alertMistakes" -}}
{{- $mistakes := list -}}
{{- with .Values.monitoring.prometheusRule.disabled -}}
{{- $known := list -}}
{{- range ($.Files.Get "files/alerts.yaml" | fromYaml).groups }}{{ range .rules }}{{ $known = append $known (get . "alert") }}{{ end }}{{ end -}}
{{- range . -}}
{{- if not (has . $known) -}}
{{- $mistakes = append $mistakes (printf "monitoring.prometheusRule.disabled: there is no alert %s" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes }}
{{- end }}
