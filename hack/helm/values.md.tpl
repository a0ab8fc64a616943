{{- /* The section "Values" of the chart's README, rendered by helm-tool. */ -}}
{{- range .Sections }}
{{- if .Name }}

### {{ .Name }}
{{- range .Description.Segments }}{{ if ne .Type "tag" }}

{{ .String | replace "\n" " " }}
{{- end }}{{ end }}

| Value | Default | Description |
|---|---|---|
{{- range .Properties }}
| `{{ .Path }}` | {{ if contains "\n" .Default }}see `values.yaml`{{ else }}`{{ .Default }}`{{ end }} | {{ range .Description.Segments }}{{ if ne .Type "tag" }}{{ .String | replace "\n" " " | replace "|" "\\|" }}{{ end }}{{ end }} |
{{- end }}
{{- end }}
{{- end -}}
