{{- define "fhircast.labels" -}}
app.kubernetes.io/name: fhircast-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fhircast.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
securityContext:
  runAsNonRoot: true
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
readinessProbe:
  httpGet: { path: /readyz, port: admin, scheme: {{ .Values.adminScheme }} }
  periodSeconds: 2
livenessProbe:
  httpGet: { path: /healthz, port: admin, scheme: {{ .Values.adminScheme }} }
  periodSeconds: 10
{{- with .Values.secretEnvironment }}
envFrom:
  - secretRef: { name: {{ . }} }
{{- end }}
{{- with .Values.volumeMounts }}
volumeMounts: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "fhircast.environment" -}}
- name: FHIRCAST_REDIS__URL
  valueFrom:
    secretKeyRef: { name: {{ .Values.existingSecret }}, key: redis-url }
- { name: FHIRCAST_LISTEN, value: "0.0.0.0:8080" }
- { name: FHIRCAST_ADMIN_LISTEN, value: "0.0.0.0:9100" }
- { name: FHIRCAST_LOG__FORMAT, value: json }
- { name: FHIRCAST_INSECURE, value: {{ .Values.insecure | quote }} }
- { name: FHIRCAST_DRAIN_SECS, value: {{ .Values.drainSeconds | quote }} }
{{- if .Values.publicUrl }}
- { name: FHIRCAST_PUBLIC_URL, value: {{ .Values.publicUrl | quote }} }
{{- end }}
{{- range $name, $value := .Values.environment }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}
