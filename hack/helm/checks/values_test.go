// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	deployment = "Deployment/meshvm-controller-manager"
	manager    = "spec template spec containers manager "
	settings   = "ConfigMap/meshvm-manager-config"
	digest     = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// cases lists the effects of values. The field at path of object becomes want,
// which is empty if the field or the object does not exist. Without the value, the
// field is different.
var cases = []struct{ set, object, path, want string }{
	{"images.manager.repository=r.example:5000/m", deployment, manager + "image", "r.example:5000/m:dev"},
	{"images.manager.tag=v9", deployment, manager + "image", "localhost/meshvm/manager:v9"},
	{"images.manager.digest=" + digest, deployment, manager + "image", "localhost/meshvm/manager@" + digest},
	{"images.ruleWriter.repository=r.example/w", deployment, manager + "env RULE_WRITER_IMAGE value", "r.example/w:dev"},
	{"images.ruleWriter.tag=v9", deployment, manager + "env RULE_WRITER_IMAGE value", "localhost/meshvm/rule-writer:v9"},
	{"images.ruleWriter.digest=" + digest, deployment, manager + "env RULE_WRITER_IMAGE value", "localhost/meshvm/rule-writer@" + digest},
	{"images.tracer.repository=r.example/t", deployment, manager + "env TRACER_IMAGE value", "r.example/t:dev"},
	{"images.tracer.tag=v9", deployment, manager + "env TRACER_IMAGE value", "localhost/meshvm/tracer:v9"},
	{"images.tracer.digest=" + digest, deployment, manager + "env TRACER_IMAGE value", "localhost/meshvm/tracer@" + digest},
	{"images.pullPolicy=Always", deployment, manager + "imagePullPolicy", "Always"},
	{"images.pullPolicy=Always", settings, "ruleWriter imagePullPolicy", "Always"},
	{"images.pullSecrets={one,two}", deployment, "spec template spec imagePullSecrets", `[{"name":"one"},{"name":"two"}]`},
	{"images.pullSecrets={one,two}", settings, "ruleWriter imagePullSecrets", `["one","two"]`},
	{"crds.enabled=false", "CustomResourceDefinition/meshedvirtualmachines.meshvm.io", "kind", ""},
	{"crds.enabled=false", "CustomResourceDefinition/podnatconfigurations.meshvm.io", "kind", ""},
	{"crds.enabled=false", "CustomResourceDefinition/connectiontraces.meshvm.io", "kind", ""},
	{"replicas=3", deployment, "spec replicas", "3"},
	{"resources.requests.cpu=1", deployment, manager + "resources requests cpu", "1"},
	{"resources.requests.memory=1Gi", deployment, manager + "resources requests memory", "1Gi"},
	{"resources.limits.memory=1Gi", deployment, manager + "resources limits memory", "1Gi"},
	{"nodeSelector.a=b", deployment, "spec template spec nodeSelector", `{"a":"b"}`},
	{"tolerations[0].key=a,tolerations[0].operator=Exists", deployment, "spec template spec tolerations", `[{"key":"a","operator":"Exists"}]`},
	{
		"affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key=metadata.name,affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator=In",
		deployment, "spec template spec affinity nodeAffinity requiredDuringSchedulingIgnoredDuringExecution nodeSelectorTerms", `[{"matchFields":[{"key":"metadata.name","operator":"In"}]}]`,
	},
	{
		"affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution=null",
		deployment, "spec template spec affinity podAntiAffinity preferredDuringSchedulingIgnoredDuringExecution", "",
	},
	{
		"topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
		deployment, "spec template spec topologySpreadConstraints", `[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}]`,
	},
	{"priorityClassName=system-cluster-critical", deployment, "spec template spec priorityClassName", "system-cluster-critical"},
	{"webhook.enabled=false", "MutatingWebhookConfiguration/meshvm", "kind", ""},
	{"webhook.enabled=false", "ValidatingWebhookConfiguration/meshvm", "kind", ""},
	{"webhook.enabled=false", "Service/meshvm-webhook", "kind", ""},
	{"webhook.enabled=false", "Secret/meshvm-webhook-ca", "kind", ""},
	{"webhook.enabled=false", settings, "webhook mode", "Disabled"},
	{"webhook.certificate=CertManager", settings, "webhook certificateSource", "Mounted"},
	{"webhook.certificate=CertManager", "Certificate/meshvm-webhook", "spec secretName", "meshvm-webhook-tls"},
	{"webhook.certificate=CertManager", "MutatingWebhookConfiguration/meshvm", "metadata annotations", `{"cert-manager.io/inject-ca-from":"meshvm-system/meshvm-webhook"}`},
	{"webhook.certificate=CertManager", "ValidatingWebhookConfiguration/meshvm", "metadata annotations", `{"cert-manager.io/inject-ca-from":"meshvm-system/meshvm-webhook"}`},
	{"webhook.certificate=CertManager", "Role/meshvm-webhook-certificate", "kind", ""},
	{"webhook.certificate=ServiceCA", "Service/meshvm-webhook", "metadata annotations", `{"service.beta.openshift.io/serving-cert-secret-name":"meshvm-webhook-tls"}`},
	{"webhook.certificate=ServiceCA", deployment, "spec template spec volumes webhook-cert", `{"name":"webhook-cert","secret":{"secretName":"meshvm-webhook-tls"}}`},
	{"openshift.enabled=true", "RoleBinding/meshvm-rule-writer-scc-privileged", "roleRef name", "system:openshift:scc:privileged"},
	{"openshift.enabled=true", "ClusterRole/meshvm-tls-profile", "kind", "ClusterRole"},
	{"openshift.enabled=true", settings, "metrics certificateDirectory", "/etc/meshvm-metrics-tls"},
	{"openshift.enabled=true,monitoring.serviceMonitor.enabled=true", "Role/meshvm-prometheus", "kind", "Role"},
	{"monitoring.serviceMonitor.enabled=true", "ServiceMonitor/meshvm-controller-manager", "kind", "ServiceMonitor"},
	{"monitoring.serviceMonitor.enabled=true,monitoring.serviceMonitor.labels.release=p", "ServiceMonitor/meshvm-controller-manager", "metadata labels release", "p"},
	{"monitoring.prometheusRule.enabled=true", "PrometheusRule/meshvm", "kind", "PrometheusRule"},
	{"monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.labels.release=p", "PrometheusRule/meshvm", "metadata labels release", "p"},
	{"networkPolicy.enabled=false", "NetworkPolicy/meshvm-controller-manager", "kind", ""},
	{"networkPolicy.enabled=false", "NetworkPolicy/meshvm-rule-writer", "kind", ""},
	{"namespace.enabled=true", "Namespace/meshvm-system", "metadata labels pod-security.kubernetes.io/enforce", "privileged"},
	{"namespace.enabled=true,namespace.labels.team=a", "Namespace/meshvm-system", "metadata labels team", "a"},
	{"config.logging.level=Debug", settings, "logging level", "Debug"},
	{"config.leaderElection.mode=Disabled", settings, "leaderElection mode", "Disabled"},
	{"config.audit.intervalSeconds=0", settings, "audit intervalSeconds", "0"},
	{"config.ruleWriter.priorityClassName=x,images.pullPolicy=Never", settings, "ruleWriter", `{"imagePullPolicy":"Never","priorityClassName":"x"}`},
}

// TestValues sets each value and checks its effect.
func TestValues(t *testing.T) {
	look := func(objects map[string]*unstructured.Unstructured, object, path string) string {
		o := objects[object]
		if o == nil {
			return ""
		}
		if object == settings {
			o = o.DeepCopy()
			normalize(t, o)
			path = "data config.yaml " + path
		}
		return field(o, strings.Fields(path)...)
	}
	plain := render(t, namespace, "")
	seen := map[string]bool{}
	for _, tc := range cases {
		t.Run(tc.set, func(t *testing.T) {
			for s := range strings.SplitSeq(tc.set, ",") {
				name, _, _ := strings.Cut(s, "=")
				seen[name] = true
			}
			before := look(plain, tc.object, tc.path)
			got := look(render(t, namespace, tc.set), tc.object, tc.path)
			if got != tc.want {
				t.Errorf("%s of %s is %q, want %q", tc.path, tc.object, got, tc.want)
			}
			if got == before {
				t.Errorf("%s of %s is %q with and without the value", tc.path, tc.object, got)
			}
		})
	}
	for name := range defaults(t) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(s string) bool {
			return s == name || strings.HasPrefix(s, name+".") || strings.HasPrefix(s, name+"[")
		}) {
			t.Errorf("value %s: cases has no entry", name)
		}
	}
}

// defaults returns the paths and the default of each value in values.yaml.
func defaults(t *testing.T) map[string]any {
	t.Helper()
	var values map[string]any
	readYAML(t, chartDir+"/values.yaml", &values)
	out := map[string]any{}
	var walk func(prefix string, v map[string]any)
	walk = func(prefix string, v map[string]any) {
		for k, x := range v {
			// helm-tool treats a value with the tag +docs:property as one value.
			if m, ok := x.(map[string]any); ok && len(m) > 0 && !slices.Contains([]string{"resources", "affinity"}, prefix+k) {
				walk(prefix+k+".", m)
				continue
			}
			out[prefix+k] = x
		}
	}
	walk("", values)
	return out
}

// TestDescribed checks that values.yaml, its schema and the README contain the
// same values, and that the README describes each of them.
func TestDescribed(t *testing.T) {
	values := slices.Sorted(maps.Keys(defaults(t)))
	readme, err := os.ReadFile(chartDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .+ \\| (.*) \\|$").FindAllStringSubmatch(string(readme), -1) {
		described = append(described, row[1])
		if row[2] == "" {
			t.Errorf("value %s has no comment in values.yaml", row[1])
		}
	}
	slices.Sort(described)
	if diff := gocmp.Diff(values, described); diff != "" {
		t.Errorf("values.yaml (-) and README.md (+) differ. Run \"make chart\":\n%s", diff)
	}
	if diff := gocmp.Diff(values, schemaValues(t)); diff != "" {
		t.Errorf("values.yaml (-) and values.schema.json (+) differ:\n%s", diff)
	}
}

// schemaValues returns the paths of the values in values.schema.json, except for
// "global", which Helm adds.
func schemaValues(t *testing.T) []string {
	t.Helper()
	var schema map[string]any
	readYAML(t, chartDir+"/values.schema.json", &schema)
	var out []string
	var walk func(prefix string, schema map[string]any)
	walk = func(prefix string, schema map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		for name, p := range properties {
			p := p.(map[string]any)
			if p["properties"] != nil {
				walk(prefix+name+".", p)
			} else if prefix+name != "global" {
				out = append(out, prefix+name)
			}
		}
	}
	walk("", schema)
	slices.Sort(out)
	return out
}

// TestNamespace checks that all objects are in the namespace of the release.
func TestNamespace(t *testing.T) {
	r, err := install(t, "elsewhere", onOpenShift+",namespace.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(r.Manifest) {
		if strings.Contains(line, namespace) {
			t.Errorf("the manifest contains another namespace: %s", line)
		}
	}
}

// TestRejected checks that the schema rejects unknown and invalid values, with a
// message that contains the path of the value.
func TestRejected(t *testing.T) {
	for set, want := range map[string]string{
		"replica=2":                           "additional properties 'replica' not allowed",
		"image.manager.tag=v1":                "additional properties 'image' not allowed",
		"images.manager.tags=v1":              "at '/images/manager': additional properties 'tags' not allowed",
		"images.manager.tag=":                 "at '/images/manager'",
		"images.manager.digest=sha256:12":     "at '/images/manager/digest'",
		"images.pullPolicy=Sometimes":         "at '/images/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
		"replicas=many":                       "at '/replicas': got string, want integer",
		"tolerations[0].effects=NoSchedule":   "at '/tolerations/0': additional properties 'effects' not allowed",
		"affinity.nodeAfinity.x=1":            "at '/affinity': additional properties 'nodeAfinity' not allowed",
		"resources.request.cpu=1":             "at '/resources': additional properties 'request' not allowed",
		"webhook.certificate=Vault":           "at '/webhook/certificate': value must be one of 'SelfManaged', 'CertManager', 'ServiceCA'",
		"openshift=true":                      "at '/openshift': got boolean, want object",
		"config.audit.intervalSecond=5":       "at '/config/audit': additional properties 'intervalSecond' not allowed",
		"config.logging.level=debug":          "at '/config/logging/level': value must be one of 'Error', 'Info', 'Debug', 'Trace'",
		"config.webhook.mode=Disabled":        "at '/config': additional properties 'webhook' not allowed",
		"config.ruleWriter.image=r.example/w": "at '/config/ruleWriter': additional properties 'image' not allowed",
		"config.controllers.workers=1000":     "at '/config/controllers/workers': maximum: got 1,000, want 64",
	} {
		t.Run(set, func(t *testing.T) {
			_, err := install(t, namespace, set)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// TestNotes checks the notes that Helm prints after an installation.
func TestNotes(t *testing.T) {
	const label = "kubectl label namespace meshvm-system --overwrite pod-security.kubernetes.io/enforce=privileged"
	for set, tc := range map[string]struct{ has, hasNot string }{
		"":                                       {label, "clusterrolebinding"},
		"namespace.enabled=true":                 {"kubectl -n meshvm-system rollout status deployment/meshvm-controller-manager", label},
		"monitoring.serviceMonitor.enabled=true": {"kubectl create clusterrolebinding meshvm-metrics-reader", "<no value>"},
	} {
		r, err := install(t, namespace, set)
		if err != nil {
			t.Fatal(err)
		}
		notes := r.Info.Notes
		if !strings.Contains(notes, tc.has) || strings.Contains(notes, tc.hasNot) {
			t.Errorf("--set %s: notes must contain %q and must not contain %q:\n%s", set, tc.has, tc.hasNot, notes)
		}
	}
}

func contains(t *testing.T, file, text string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), text) {
		t.Errorf("%s does not contain %q", file, text)
	}
}
