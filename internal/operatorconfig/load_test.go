// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"strings"
	"testing"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

const header = "apiVersion: config.meshvm.io/v1alpha1\nkind: OperatorConfiguration\n"

// environment returns the environment variables that an installation sets.
func environment(name string) string {
	return map[string]string{EnvRuleWriterImage: "registry.example/rule-writer:1", EnvRuleWriterServiceAccount: "rule-writer", EnvTracerImage: "registry.example/tracer:1"}[name]
}

func parse(t *testing.T, text string) *configv1alpha1.OperatorConfiguration {
	t.Helper()
	c, err := Parse([]byte(header+text), environment)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	none, err := Parse(nil, environment)
	if err != nil {
		t.Fatal(err)
	}
	if changed := Changed(none, parse(t, "")); len(changed) > 0 {
		t.Errorf("defaults without a file and with an empty file differ in %v", changed)
	}
	// Fields with a default are set.
	for path, value := range map[string]any{
		"ruleWriter.image": "registry.example/rule-writer:1", "ruleWriter.serviceAccount": "rule-writer", "tracer.image": "registry.example/tracer:1",
		"audit.intervalSeconds": int64(600), "client.requestsPerSecond": int64(0), "logging.level": "Info",
		"leaderElection.leaseDurationSeconds": int64(30), "leaderElection.renewDeadlineSeconds": int64(20), "leaderElection.retryPeriodSeconds": int64(4),
		"metrics.bindAddress": ":8443", "webhook.bindAddress": ":9443", "tls.profile": "Cluster", "mesh.rootNamespace": "istio-system",
		"tenancy.gateways.mode":         "SameNamespace",
		"tenancy.patches":               "Disabled",
		"tenancy.adoption":              "Annotation",
		"guests.startGateResources.cpu": "10m", "guests.startGateResources.memory": "32Mi",
	} {
		if got := flatten(none)[path]; got != value {
			t.Errorf("%s is %v, want %v", path, got, value)
		}
	}
	for text, want := range map[string]configv1alpha1.StartGate{
		"": configv1alpha1.StartGateContainer, "webhook: {mode: Disabled}": configv1alpha1.StartGatePause, "guests: {startGate: Pause}": configv1alpha1.StartGatePause,
	} {
		if got := parse(t, text).Guests.StartGate; got != want {
			t.Errorf("%q: start gate is %s, want %s", text, got, want)
		}
	}
	if c := parse(t, "client: {requestsPerSecond: 50}"); c.Client.Burst != 100 {
		t.Errorf("burst is %d, want twice requestsPerSecond", c.Client.Burst)
	}
	if c := parse(t, "ruleWriter: {image: other:2}\naudit: {intervalSeconds: 0}"); c.RuleWriter.Image != "other:2" || *c.Audit.IntervalSeconds != 0 {
		t.Errorf("fields of the file are not applied: %+v", c)
	}
}

func TestRejected(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		// want are substrings of the error: the field and the resolution.
		want []string
	}{
		"another kind":           {"apiVersion: v1\nkind: ConfigMap\n", []string{"config.meshvm.io/v1alpha1", "docs/configuration.md"}},
		"a later version":        {"apiVersion: config.meshvm.io/v2\nkind: OperatorConfiguration\n", []string{"config.meshvm.io/v2"}},
		"invalid YAML":           {"{", []string{"docs/configuration.md"}},
		"a typo":                 {header + "audit: {interval: 10}", []string{`unknown field "audit.interval"`}},
		"a field twice":          {header + "audit: {}\naudit: {}", []string{"audit", "already set"}},
		"another type":           {header + "audit: {intervalSeconds: 10m}", []string{"intervalSeconds"}},
		"interval too short":     {header + "audit: {intervalSeconds: 9}", []string{"audit.intervalSeconds", "at least 10, or 0"}},
		"interval too long":      {header + "audit: {intervalSeconds: 100000}", []string{"audit.intervalSeconds", "from 0 to 86400"}},
		"negative":               {header + "audit: {intervalSeconds: -1}", []string{"audit.intervalSeconds"}},
		"too many workers":       {header + "controllers: {workers: 65}", []string{"controllers.workers", "from 1 to 64"}},
		"too many requests":      {header + "client: {requestsPerSecond: 10001}", []string{"client.requestsPerSecond"}},
		"burst without a limit":  {header + "client: {burst: 3}", []string{"client.burst", "set client.requestsPerSecond"}},
		"burst too high":         {header + "client: {requestsPerSecond: 1, burst: 20001}", []string{"client.burst"}},
		"unknown gate":           {header + "guests: {startGate: Door}", []string{"guests.startGate", `"Container", "Pause"`}},
		"gate without a webhook": {header + "guests: {startGate: Container}\nwebhook: {mode: Disabled}", []string{"guests.startGate", "requires the webhook"}},
		"unknown level":          {header + "logging: {level: Loud}", []string{"logging.level", `"Error", "Info", "Debug", "Trace"`}},
		"unknown format":         {header + "logging: {format: XML}", []string{"logging.format", `"JSON", "Text"`}},
		"unknown mode":           {header + "leaderElection: {mode: Sometimes}", []string{"leaderElection.mode"}},
		"renew deadline not less than lease duration": {header + "leaderElection: {leaseDurationSeconds: 20}", []string{"leaderElection.renewDeadlineSeconds", "less than leaseDurationSeconds, which is 20"}},
		"retry period not less than renew deadline":   {header + "leaderElection: {retryPeriodSeconds: 100}", []string{"leaderElection.retryPeriodSeconds", "renewDeadlineSeconds, which is 20"}},
		"lease of two hours":                          {header + "leaderElection: {leaseDurationSeconds: 3601}", []string{"leaderElection.leaseDurationSeconds"}},
		"health without port":                         {header + "health: {bindAddress: localhost}", []string{"health.bindAddress", "HOST:PORT", "0 disables the server"}},
		"metrics without port":                        {header + "metrics: {bindAddress: ':http'}", []string{"metrics.bindAddress"}},
		"relative directory":                          {header + "metrics: {certificateDirectory: certs}", []string{"metrics.certificateDirectory", "absolute"}},
		"webhook address 0":                           {header + "webhook: {bindAddress: '0'}", []string{"webhook.bindAddress", "webhook.mode to Disabled"}},
		"unknown webhook mode":                        {header + "webhook: {mode: Off}", []string{"webhook.mode"}},
		"unknown source":                              {header + "webhook: {certificateSource: Vault}", []string{"webhook.certificateSource", `"SelfManaged", "Mounted"`}},
		"relative directory of the webhook":           {header + "webhook: {certificateDirectory: certs}", []string{"webhook.certificateDirectory"}},
		"unknown profile":                             {header + "tls: {profile: Custom}", []string{"tls.profile", `"Cluster"`}},
		"unknown pull policy":                         {header + "ruleWriter: {imagePullPolicy: Seldom}", []string{"ruleWriter.imagePullPolicy"}},
		"invalid name of the service account":         {header + "ruleWriter: {serviceAccount: A_B}", []string{"ruleWriter.serviceAccount"}},
		"invalid name of the priority class":          {header + "ruleWriter: {priorityClassName: A_B}", []string{"ruleWriter.priorityClassName"}},
		"invalid name of a secret":                    {header + "ruleWriter: {imagePullSecrets: [a, A_B]}", []string{"ruleWriter.imagePullSecrets[1]"}},
		"duplicate secret":                            {header + "ruleWriter: {imagePullSecrets: [a, a]}", []string{"ruleWriter.imagePullSecrets[1]", "Duplicate"}},
		"too many secrets":                            {header + "ruleWriter: {imagePullSecrets: [a,b,c,d,e,f,g,h,i,j,k,l,m,p,q,r,s]}", []string{"ruleWriter.imagePullSecrets", "at most 16"}},
		"invalid domain":                              {header + "cluster: {domain: corp_example}", []string{"cluster.domain"}},
		"invalid root namespace":                      {header + "mesh: {rootNamespace: mesh.root}", []string{"mesh.rootNamespace"}},
		"unknown mode of gateways":                    {header + "tenancy: {gateways: {mode: All}}", []string{"tenancy.gateways.mode", `"SameNamespace", "Listed", "Any"`}},
		"unknown mode of patches":                     {header + "tenancy: {patches: Some}", []string{"tenancy.patches", `"Disabled", "Enabled"`}},
		"unknown mode of adoption":                    {header + "tenancy: {adoption: Any}", []string{"tenancy.adoption", `"Annotation", "AdmissionPolicy"`}},
		"listed gateways without a list":              {header + "tenancy: {gateways: {mode: Listed}}", []string{"tenancy.gateways.allowed", "NAMESPACE/NAME"}},
		"list of gateways without its mode":           {header + "tenancy: {gateways: {allowed: [ingress/public]}}", []string{"tenancy.gateways.allowed", "set mode to Listed"}},
		"gateway without a namespace":                 {header + "tenancy: {gateways: {mode: Listed, allowed: [public]}}", []string{"tenancy.gateways.allowed[0]", "NAMESPACE/NAME"}},
		"gateways of all namespaces":                  {header + "tenancy: {gateways: {mode: Listed, allowed: ['*/public']}}", []string{"tenancy.gateways.allowed[0]", "NAMESPACE/NAME"}},
		"duplicate gateway":                           {header + "tenancy: {gateways: {mode: Listed, allowed: [ingress/*, ingress/*]}}", []string{"tenancy.gateways.allowed[1]", "Duplicate"}},
		"gate without CPU":                            {header + "guests: {startGateResources: {cpu: '0'}}", []string{"guests.startGateResources.cpu", "greater than 0"}},
		"gate with too little memory":                 {header + "guests: {startGateResources: {memory: 8Mi}}", []string{"guests.startGateResources.memory", "at least 16Mi"}},
		"gate with an invalid quantity":               {header + "guests: {startGateResources: {cpuLimit: much}}", []string{"quantities"}},
		"several errors":                              {header + "controllers: {workers: 65}\ntls: {profile: Custom}", []string{"controllers.workers", "tls.profile"}},
	} {
		_, err := Parse([]byte(tc.text), environment)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\ndoes not contain %q", name, err, want)
			}
		}
	}
	_, err := Parse([]byte(header), func(string) string { return "" })
	for _, want := range []string{"ruleWriter.image", EnvRuleWriterImage, "ruleWriter.serviceAccount", EnvRuleWriterServiceAccount, "tracer.image", EnvTracerImage} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without environment variables: %v, want %q", err, want)
		}
	}
	if _, err := Load("/no/such/file", environment); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("without a file: %v", err)
	}
}
