{{/* Names and labels. */}}

{{- define "fhircast.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of a component. It never changes: selectors of Deployments cannot. Takes root and component. */}}
{{- define "fhircast.selector" -}}
app.kubernetes.io/name: fhircast-hub
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/*
The labels of a component's manifests: its own go before those of its values (`labels`), and these before `commonLabels`. Takes
root, component and labels (none: it has none).
*/}}
{{- define "fhircast.labels" -}}
{{- $own := include "fhircast.selector" . | fromYaml -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" -}}
{{- $about := dict "app.kubernetes.io/part-of" "fhircast" "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" $chart -}}
{{- toYaml (merge $own $about (deepCopy (.labels | default dict)) (deepCopy .root.Values.commonLabels)) }}
{{- end }}

{{/*
The labels of a component's pods, in the same order: none that change with the chart, which would close all sockets. Takes root,
component and labels (none: it has none).
*/}}
{{- define "fhircast.podLabels" -}}
{{- $own := include "fhircast.selector" . | fromYaml -}}
{{- toYaml (merge $own (deepCopy (.labels | default dict)) (deepCopy .root.Values.commonLabels)) }}
{{- end }}

{{- define "fhircast.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "fhircast.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* An image by its digest, or else its tag. Takes repository, tag and digest. */}}
{{- define "fhircast.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end }}

{{/* The Secret of the certificate of `tls` or `admin_tls`; empty: none. Takes root and group. */}}
{{- define "fhircast.certificateSecret" -}}
{{- $certificate := index .root.Values.certificates .group -}}
{{- if $certificate.existingSecret -}}
{{- $certificate.existingSecret -}}
{{- else if ($certificate.certManager | default dict).enabled -}}
{{- include "fhircast.fullname" .root }}-{{ .group | replace "_" "-" -}}
{{- end -}}
{{- end }}

{{/* The port of the hubs' Service. */}}
{{- define "fhircast.servicePort" -}}
{{- $tls := get (include "fhircast.settings" . | fromYaml) "tls" | default dict -}}
{{- .Values.service.port | default (ternary 443 80 (hasKey $tls "cert")) | int -}}
{{- end }}
