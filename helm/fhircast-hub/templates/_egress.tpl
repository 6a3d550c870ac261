{{/* A rule for what goes out by TCP; an empty `to` is anywhere, empty `ports` are all. Takes to and ports. */}}
{{- define "fhircast.egress" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . | int }}}
    {{- else }}
    - {protocol: TCP}
    {{- end }}
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
