{{/*
What each controller must be told: to leave a WebSocket open that is idle, to take a request as large as the hub does, and
whether the hub speaks TLS. Takes root and settings.
*/}}
{{- define "fhircast.ingressAnnotations" -}}
{{- $ingress := .root.Values.ingress -}}
{{- $idle := int $ingress.idleSeconds -}}
{{- $body := include "fhircast.setting" (dict "settings" .settings "group" "limits" "name" "body_bytes" "default" 4194304) -}}
{{- $hasTls := hasKey (get .settings "tls" | default dict) "cert" -}}
{{- if eq $ingress.controller "nginx" -}}
nginx.ingress.kubernetes.io/proxy-read-timeout: {{ $idle | quote }}
nginx.ingress.kubernetes.io/proxy-send-timeout: {{ $idle | quote }}
nginx.ingress.kubernetes.io/proxy-body-size: {{ $body | quote }}
nginx.ingress.kubernetes.io/proxy-http-version: "1.1"
nginx.ingress.kubernetes.io/backend-protocol: {{ ternary "HTTPS" "HTTP" $hasTls }}
{{- else if eq $ingress.controller "haproxy" -}}
{{/*
That of HAProxy Technologies, and the community's; neither has a bound on bodies of its own. The former takes its time-out of
WebSockets (timeout-tunnel, an hour by default) from its ConfigMap alone.
*/ -}}
haproxy.org/timeout-server: {{ $idle }}s
haproxy-ingress.github.io/timeout-tunnel: {{ $idle }}s
haproxy-ingress.github.io/proxy-body-size: {{ $body | quote }}
{{- if $hasTls }}
haproxy.org/server-ssl: "true"
haproxy-ingress.github.io/backend-protocol: h1-ssl
{{- end }}
{{- else if eq $ingress.controller "traefik" -}}
{{/* Its entry points have the time-outs, and an upgraded connection has none; it has no bound on bodies of its own. */ -}}
traefik.ingress.kubernetes.io/router.entrypoints: {{ ternary "websecure" "web" $ingress.tls.enabled }}
{{- if $ingress.tls.enabled }}
traefik.ingress.kubernetes.io/router.tls: "true"
{{- end }}
{{- else if eq $ingress.controller "alb" -}}
{{- $adminTls := get .settings "admin_tls" | default dict -}}
{{- $drain := include "fhircast.setting" (dict "settings" .settings "name" "drain_secs" "default" 10) -}}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds={{ $idle }}
alb.ingress.kubernetes.io/target-group-attributes: deregistration_delay.timeout_seconds={{ $drain }}
alb.ingress.kubernetes.io/backend-protocol: {{ ternary "HTTPS" "HTTP" $hasTls }}
alb.ingress.kubernetes.io/healthcheck-path: /readyz
alb.ingress.kubernetes.io/healthcheck-port: {{ include "fhircast.port" .settings.admin_listen | quote }}
alb.ingress.kubernetes.io/healthcheck-protocol: {{ ternary "HTTPS" "HTTP" (hasKey $adminTls "cert") }}
alb.ingress.kubernetes.io/listen-ports: {{ ternary `[{"HTTPS":443}]` `[{"HTTP":80}]` $ingress.tls.enabled | squote }}
{{- end -}}
{{- end }}
