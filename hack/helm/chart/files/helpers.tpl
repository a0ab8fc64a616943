{{- /* What an image of values is called. */}}
{{- define "meshvm.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{- /* Labels of every object, beside those of config/. */}}
{{- define "meshvm.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Who makes the webhook's certificate; None without a webhook. */}}
{{- define "meshvm.certificate" -}}
{{ ternary .Values.webhook.certificate "None" .Values.webhook.enabled }}
{{- end }}

{{- /* The manager's pull secrets. */}}
{{- define "meshvm.pullSecrets" -}}
{{- with .Values.images.pullSecrets -}}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The manager's configuration: the user's, with what follows from other values. */}}
{{- define "meshvm.configuration" -}}
{{- $installed := include "meshvm.installed" . | fromYaml -}}
{{- $ruleWriter := dict "imagePullPolicy" .Values.images.pullPolicy -}}
{{- with .Values.images.pullSecrets }}{{ $_ := set $ruleWriter "imagePullSecrets" . }}{{ end -}}
{{- if or (ne .Values.images.pullPolicy "IfNotPresent") .Values.images.pullSecrets -}}
{{- $_ := set $installed "ruleWriter" $ruleWriter -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite (deepCopy .Values.config) $installed) -}}
{{- end }}

{{- /* More labels, if there are any. */}}
{{- define "meshvm.more" -}}
{{- with . }}{{ toYaml . }}{{ end -}}
{{- end }}
