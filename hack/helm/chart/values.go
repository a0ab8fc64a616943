// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// value is one that a user may set.
type value struct {
	// path is its name, with dots.
	path string
	// comment is what values.yaml and the README say about it.
	comment string
	// def is the default; nil means what config/ has in the value's hole.
	def any
	// schema is its JSON schema. A string names a type of Go whose schema it is.
	schema any
}

type object = map[string]any

var (
	boolean = object{"type": "boolean"}
	text    = object{"type": "string", "minLength": 1}
	labels  = object{"type": "object", "additionalProperties": object{"type": "string", "maxLength": 63}}
)

// list is the schema of a list.
func list(items any) object { return object{"type": "array", "items": items} }

// groups say what values with the same first part of their names are about.
var groups = map[string]string{
	"crds":          "The definitions of the operator's kinds.",
	"images":        "Images. A digest wins over a tag.",
	"webhook":       "The webhook that adds the start gate to virt-launcher pods.",
	"openshift":     "OpenShift.",
	"monitoring":    "Objects for Prometheus' operator, whose kinds the cluster has to have.",
	"namespace":     "The release's namespace.",
	"networkPolicy": "Who may talk to the operator's pods.",
}

// values are all of the chart, in the order of values.yaml.
var values = []value{
	{"images.manager", "The manager.", nil, image},
	{"images.ruleWriter", "The rule-writer: the Jobs' image, and that of the gate in virt-launcher pods. The manager gets it in the variable RULE_WRITER_IMAGE.", nil, image},
	{"images.pullPolicy", "When they are pulled, the rule-writer's too.", nil, object{"enum": []any{"Always", "IfNotPresent", "Never"}}},
	{"images.pullSecrets", "Names of Secrets in the release's namespace to pull both images with.", []any{}, list(text)},

	{"crds.enabled", "Install and upgrade them with the release. Uninstalling leaves them in any case, and so all objects of these kinds. With false, apply config/crd yourself, before each upgrade.", true, boolean},

	{"replicas", "Managers. One works, the others wait for its lease; all answer the webhook.", nil, object{"type": "integer", "minimum": 0, "maximum": 9}},
	{"resources", "The manager's requests and limits.", nil, "ResourceRequirements"},
	{"nodeSelector", "Nodes that the manager may run on. The rule-writer's Jobs run where the virtual machines do, and tolerate everything.", object{}, labels},
	{"tolerations", "Taints that the manager tolerates.", []any{}, list("Toleration")},
	{"affinity", "Affinity of the managers: nodes that there is an image for, and different ones where there are.", nil, "Affinity"},
	{"topologySpreadConstraints", "How several managers are spread.", []any{}, list("TopologySpreadConstraint")},
	{"priorityClassName", "Priority of the manager. That of the Jobs is config.ruleWriter.priorityClassName.", "", object{"type": "string"}},

	{"webhook.enabled", "Without it the start gate Container is not to be had, and guests are started paused instead.", true, boolean},
	{"webhook.certificate", "Who makes its certificate: SelfManaged, the operator itself; CertManager; or ServiceCA, OpenShift's.", "SelfManaged", object{"enum": []any{"SelfManaged", "CertManager", "ServiceCA"}}},

	{"openshift.enabled", "Allow the rule-writer, and only in the release's namespace, the SecurityContextConstraints privileged; follow the cluster's TLS profile; have the service-CA make the metrics' certificate; let OpenShift's Prometheus read them when there is a ServiceMonitor.", false, boolean},

	{"monitoring.serviceMonitor.enabled", "A ServiceMonitor. Bind the ClusterRole meshvm-metrics-reader to Prometheus' service account; on OpenShift that is done.", false, boolean},
	{"monitoring.serviceMonitor.labels", "More labels of it, by which your Prometheus selects.", object{}, labels},
	{"monitoring.prometheusRule.enabled", "A PrometheusRule with the alerts.", false, boolean},
	{"monitoring.prometheusRule.labels", "More labels of it, by which your Prometheus selects.", object{}, labels},

	{"networkPolicy.enabled", "Policies: to the manager come API servers and readers of metrics, and the rule-writer talks to nobody.", true, boolean},

	{"namespace.enabled", "Have the release own its namespace, for its labels. It exists before: install with --create-namespace --take-ownership. Uninstalling leaves it.", false, boolean},
	{"namespace.labels", "More labels of it.", object{}, labels},

	{"config", "The manager's configuration, an OperatorConfiguration; its logging.level and leaderElection are here. What other values decide (webhook.mode, certificates, the rule-writer's image) is not. Changes are taken over while it runs; docs/configuration.md.", object{}, "OperatorConfiguration"},
}

// image is the schema of an image.
var image = object{
	"type": "object", "required": []any{"repository"},
	"properties": object{
		"repository": object{"type": "string", "minLength": 1, "pattern": `^[^@]*$`},
		"tag":        object{"type": "string", "pattern": `^(\w[\w.-]{0,127})?$`},
		"digest":     object{"type": "string", "pattern": `^(sha256:[a-f0-9]{64})?$`},
	},
	"anyOf": []any{
		object{"properties": object{"tag": object{"minLength": 1}}},
		object{"properties": object{"digest": object{"minLength": 1}}},
	},
}

// defaultOf is a value's default.
func (s *source) defaultOf(v value) (any, error) {
	if v.def != nil {
		return v.def, nil
	}
	for _, h := range holes {
		if h.value != v.path {
			continue
		}
		merged, err := (merger{h.object}).merge(s.objects[h.object])
		if err != nil {
			return nil, err
		}
		i := strings.LastIndex(h.path, ".")
		parent := merged.(*mapping).at(strings.Split(h.path[:i], ".")...) //nolint:forcetypeassert // an object is one
		found := parent.get(h.path[i+1:])
		if name, ok := found.(string); ok && strings.HasPrefix(v.path, "images.") && v.path != "images.pullPolicy" {
			repository, tag, digest := splitImage(name)
			return &mapping{[]entry{{key: "repository", value: repository}, {key: "tag", value: tag}, {key: "digest", value: digest}}}, nil
		}
		return found, nil
	}
	return nil, fmt.Errorf("value %s has no default and no hole", v.path)
}

// values writes values.yaml, its schema and the README.
func (s *source) values(root string, chart map[string][]byte) error {
	types, err := goTypes(root)
	if err != nil {
		return err
	}
	schema := newSchema()
	y := emitter{}
	y.line(0, "# %s Change hack/helm/chart/values.go, then run: make chart", generated)
	var rows strings.Builder
	var last []string
	for _, v := range values {
		def, err := s.defaultOf(v)
		if err != nil {
			return err
		}
		if def, err = tree(def); err != nil {
			return err
		}
		if err := schema.add(strings.Split(v.path, "."), v, types); err != nil {
			return fmt.Errorf("%s: %w", v.path, err)
		}
		if err := y.value(v, def, &last); err != nil {
			return err
		}
		row(&rows, v, def)
	}
	if err := configurationRows(&rows, types["OperatorConfiguration"]); err != nil {
		return err
	}
	chart["values.yaml"] = []byte(strings.TrimPrefix(y.String(), "\n"))
	if chart["values.schema.json"], err = schema.json(); err != nil {
		return err
	}
	readme, err := files.ReadFile("files/README.md")
	if err != nil {
		return err
	}
	chart["README.md"] = append(readme, rows.String()...)
	return nil
}

// tree is a default as the emitter writes it.
func tree(v any) (any, error) {
	switch v.(type) {
	case object, []any:
		return merger{}.merge(map[string]any{"": v})
	}
	return v, nil
}

// value writes a value with its comment, and headings of groups that begin.
func (e *emitter) value(v value, def any, last *[]string) error {
	path := strings.Split(v.path, ".")
	common := 0
	for common < len(path)-1 && common < len(*last)-1 && path[common] == (*last)[common] {
		common++
	}
	if common == 0 {
		e.WriteByte('\n')
	}
	for i := common; i < len(path)-1; i++ {
		if i == 0 {
			e.comment(0, groups[path[0]])
		}
		e.line(2*i, "%s:", path[i])
	}
	*last = path
	e.comment(2*(len(path)-1), v.comment)
	return e.entry(path[len(path)-1], def, 2*(len(path)-1))
}

// comment writes a comment in lines of at most 100 characters.
func (e *emitter) comment(indent int, text string) {
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > 98-indent {
			e.line(indent, "%s", line)
			line = "#"
		}
		line += " " + word
	}
	e.line(indent, "%s", line)
}
