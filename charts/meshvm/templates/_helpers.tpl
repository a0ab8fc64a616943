{{/*
The labels that identify the chart and its version. The objects from files/ have no other labels.
*/}}
{{- define "meshvm.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The labels of objects that do not belong to one component.
*/}}
{{- define "meshvm.labels" -}}
app.kubernetes.io/name: meshvm
{{ include "meshvm.chartLabels" . }}
{{- end }}

{{/*
The labels that select the manager's pods.
*/}}
{{- define "meshvm.managerSelectorLabels" -}}
app.kubernetes.io/name: meshvm
app.kubernetes.io/component: controller-manager
{{- end }}

{{/*
The labels of the manager's objects.
*/}}
{{- define "meshvm.managerLabels" -}}
{{ include "meshvm.managerSelectorLabels" . }}
{{ include "meshvm.chartLabels" . }}
{{- end }}

{{/*
The labels of the rule-writer's objects.
*/}}
{{- define "meshvm.ruleWriterLabels" -}}
app.kubernetes.io/name: meshvm
app.kubernetes.io/component: rule-writer
{{ include "meshvm.chartLabels" . }}
{{- end }}

{{/*
The reference of an image in images. The digest takes precedence over the tag.
*/}}
{{- define "meshvm.image" -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository .tag }}
{{- end -}}
{{- end }}

{{/*
The source of the webhook's certificate, or None if the webhook is disabled.
*/}}
{{- define "meshvm.certificate" -}}
{{- ternary .Values.webhook.certificate "None" .Values.webhook.enabled -}}
{{- end }}

{{/*
"true" if the webhook's certificate is in a Secret that the manager mounts.
*/}}
{{- define "meshvm.certificateMounted" -}}
{{- if has (include "meshvm.certificate" .) (list "CertManager" "ServiceCA") -}}
true
{{- end -}}
{{- end }}

{{/*
The subject of the bindings of the manager's roles.
*/}}
{{- define "meshvm.managerSubject" -}}
- kind: ServiceAccount
  name: meshvm-controller-manager
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/*
The manager's configuration: config with the fields that other values set. The chart contains the policy of
adoption.yaml, so adoption does not require an annotation.
*/}}
{{- define "meshvm.configuration" -}}
{{- $set := dict "apiVersion" "config.meshvm.io/v1alpha1" "kind" "OperatorConfiguration" -}}
{{- with .Values.images -}}
{{- if or .pullSecrets (ne .pullPolicy "IfNotPresent") -}}
{{- $ruleWriter := dict "imagePullPolicy" .pullPolicy -}}
{{- with .pullSecrets }}{{ $_ := set $ruleWriter "imagePullSecrets" . }}{{ end -}}
{{- $_ := set $set "ruleWriter" $ruleWriter -}}
{{- end -}}
{{- end -}}
{{- if .Values.openshift.enabled -}}
{{- $_ := set $set "metrics" (dict "certificateDirectory" "/etc/meshvm-metrics-tls") -}}
{{- end -}}
{{- if not .Values.webhook.enabled -}}
{{- $_ := set $set "webhook" (dict "mode" "Disabled") -}}
{{- else if include "meshvm.certificateMounted" . -}}
{{- $_ := set $set "webhook" (dict "certificateSource" "Mounted") -}}
{{- end -}}
{{- $default := dict "tenancy" (dict "adoption" "AdmissionPolicy") -}}
{{- toYaml (mustMergeOverwrite $default (deepCopy .Values.config) $set) -}}
{{- end }}
