{{/* The pods of both programs. */}}

{{/* What a container is, of either program. Takes root, component and settings; the container's list item begins. */}}
{{- define "fhircast.container" -}}
{{- $root := .root -}}
image: {{ include "fhircast.image" (dict "repository" $root.Values.image.repository "tag" ($root.Values.image.tag | default $root.Chart.AppVersion) "digest" $root.Values.image.digest) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [/usr/local/bin/fhircast-{{ .component }}]
securityContext: {{- include "fhircast.containerSecurity" . | nindent 2 }}
{{- $secret := include "fhircast.secretVariables" $root | fromYamlArray }}
{{- $extra := concat $root.Values.extraEnv (index $root.Values .component).extraEnv }}
{{- if or $secret $extra }}
env:
  {{- range $secret }}
  - name: {{ include "fhircast.variable" .setting }}
    valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}}
  {{- end }}
  {{- with $extra }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/fhircast/config, readOnly: true}
  {{- range $group, $certificate := $root.Values.certificates }}
  {{- if include "fhircast.certificateSources" (dict "root" $root "group" $group) }}
  - {name: certificates-{{ $group | replace "_" "-" }}, mountPath: /etc/fhircast/certificates/{{ $group }}, readOnly: true}
  {{- end }}
  {{- end }}
  {{- if $root.Values.secrets.data_keys_file.existingSecret }}
  - {name: secrets, mountPath: /etc/fhircast/secrets, readOnly: true}
  {{- end }}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The volumes of a pod. Takes root. */}}
{{- define "fhircast.volumes" -}}
{{- $root := .root -}}
- name: config
  configMap: {name: {{ include "fhircast.fullname" $root }}-config}
{{- range $group, $certificate := $root.Values.certificates }}
{{- with include "fhircast.certificateSources" (dict "root" $root "group" $group) }}
- name: certificates-{{ $group | replace "_" "-" }}
  projected:
    defaultMode: 0440
    sources: {{- . | nindent 6 }}
{{- end }}
{{- end }}
{{- with $root.Values.secrets.data_keys_file }}
{{- if .existingSecret }}
- name: secrets
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .key }}, path: data-keys}]
{{- end }}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What is in the volume of a group's certificates; empty: nothing. Takes root and group. */}}
{{- define "fhircast.certificateSources" -}}
{{- $ca := (index .root.Values.certificates .group).ca -}}
{{- with include "fhircast.certificateSecret" . }}
- secret:
    name: {{ . }}
    items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- if $ca.existingSecret }}
- secret:
    name: {{ $ca.existingSecret }}
    items: [{key: {{ $ca.key }}, path: ca.crt}]
{{- else if $ca.existingConfigMap }}
- configMap:
    name: {{ $ca.existingConfigMap }}
    items: [{key: {{ $ca.key }}, path: ca.crt}]
{{- end }}
{{- end }}

{{/* No choice: Kubernetes's restricted profile, and a file system that nobody writes to. */}}
{{- define "fhircast.containerSecurity" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "fhircast.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- range $name, $value := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* How a pod is asked how it is. Takes component, settings and path. */}}
{{- define "fhircast.probe" -}}
{{- $adminTls := get .settings "admin_tls" | default dict -}}
{{- if eq (get $adminTls "client_auth" | toString) "required" -}}
{{/* Kubelet has no certificate to show: the program has. */ -}}
exec:
  command:
    - /usr/local/bin/fhircast-{{ .component }}
    - health
    {{- if eq .path "/readyz" }}
    - --ready
    {{- end }}
    - --config=/etc/fhircast/config/fhircast.toml
{{- else -}}
httpGet: {path: {{ .path }}, port: admin, scheme: {{ ternary "HTTPS" "HTTP" (hasKey $adminTls "cert") }}}
{{- end }}
{{- end }}

{{/* Seconds for which a pod that is to stop still takes connections. Takes root and component. */}}
{{- define "fhircast.preStopSleep" -}}
{{- $sleep := (index .root.Values .component).preStopSleepSeconds | default 0 -}}
{{- ternary ($sleep | int) 0 (semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version) -}}
{{- end }}

{{/* Seconds that a pod needs to stop: the sleep, the drain, the last requests and a margin. Takes root, component, settings. */}}
{{- define "fhircast.stopSeconds" -}}
{{- $drain := include "fhircast.setting" (dict "settings" .settings "name" "drain_secs" "default" 10) -}}
{{- add (include "fhircast.preStopSleep" .) $drain 15 -}}
{{- end }}

{{/* The Deployment of a component. Takes root and component. */}}
{{- define "fhircast.deployment" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $values := index $root.Values $component -}}
{{- $settings := include "fhircast.settings" $root | fromYaml -}}
{{- $here := dict "root" $root "component" $component "settings" $settings -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "fhircast.fullname" $root }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "fhircast.labels" $here | nindent 4 }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- else }}
  {{- /* As many as there are: what was named before and is named no more, Kubernetes sets to one. */}}
  {{- $deployed := lookup "apps/v1" "Deployment" $root.Release.Namespace (printf "%s-%s" (include "fhircast.fullname" $root) $component) }}
  {{- with get (get $deployed "spec" | default dict) "replicas" }}
  replicas: {{ . | int }}
  {{- end }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: {{ $values.maxSurge }}}
  selector:
    matchLabels: {{- include "fhircast.selector" $here | nindent 6 }}
  template:
    metadata:
      annotations:
        checksum/config: {{ include "fhircast.toml" $settings | sha256sum }}
        {{- with merge (deepCopy $values.podAnnotations) $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- $podLabels := merge (deepCopy $values.podLabels) $root.Values.podLabels }}
      labels: {{- include "fhircast.podLabels" (merge (dict "labels" $podLabels) $here) | nindent 8 }}
    spec:
      serviceAccountName: {{ include "fhircast.serviceAccountName" $root | quote }}
      automountServiceAccountToken: false
      # The variables of Services would only be in the way of the settings' own.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds | default (include "fhircast.stopSeconds" $here) | int }}
      securityContext: {{- include "fhircast.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with merge (deepCopy $values.nodeSelector) $root.Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with concat $root.Values.tolerations $values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- with $values.topologySpreadConstraints }}
        {{- toYaml . | nindent 8 }}
        {{- else }}
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "fhircast.selector" $here | nindent 14 }}
        {{- end }}
        {{- end }}
      volumes: {{- include "fhircast.volumes" $here | nindent 8 }}
      containers:
        - name: {{ $component }}
          {{- include "fhircast.container" $here | nindent 10 }}
          args: [--config=/etc/fhircast/config/fhircast.toml]
          ports:
            {{- if eq $component "hub" }}
            - {name: http, containerPort: {{ include "fhircast.port" $settings.listen }}}
            {{- end }}
            - {name: admin, containerPort: {{ include "fhircast.port" $settings.admin_listen }}}
          startupProbe:
            {{- include "fhircast.probe" (merge (dict "path" "/healthz") $here) | nindent 12 }}
            {{- toYaml $root.Values.probes.startup | nindent 12 }}
          livenessProbe:
            {{- include "fhircast.probe" (merge (dict "path" "/healthz") $here) | nindent 12 }}
            {{- toYaml $root.Values.probes.liveness | nindent 12 }}
          readinessProbe:
            {{- include "fhircast.probe" (merge (dict "path" "/readyz") $here) | nindent 12 }}
            {{- toYaml $root.Values.probes.readiness | nindent 12 }}
          {{- $sleep := include "fhircast.preStopSleep" $here | int }}
          {{- if $sleep }}
          # Kubelet's own: the image has no shell. A hub that is asked to stop closes its sockets, whose clients come back
          # at once: by then nobody is to send them here any more.
          lifecycle:
            preStop: {sleep: {seconds: {{ $sleep }}}}
          {{- end }}
          resources: {{- toYaml $values.resources | nindent 12 }}
{{- end }}
