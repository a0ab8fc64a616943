// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"strings"
	"testing"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

const header = "apiVersion: config.meshvm.io/v1alpha1\nkind: OperatorConfiguration\n"

// environment is what an installation sets.
func environment(name string) string {
	return map[string]string{EnvRuleWriterImage: "registry.example/rule-writer:1", EnvRuleWriterServiceAccount: "rule-writer"}[name]
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
		t.Errorf("no file and an empty one differ in %v", changed)
	}
	// Every field that has a default has it now; the rest is empty for a reason.
	for path, value := range map[string]any{
		"ruleWriter.image": "registry.example/rule-writer:1", "ruleWriter.serviceAccount": "rule-writer",
		"audit.intervalSeconds": int64(600), "client.requestsPerSecond": int64(0), "logging.level": "Info",
		"leaderElection.leaseDurationSeconds": int64(137), "leaderElection.renewDeadlineSeconds": int64(107), "leaderElection.retryPeriodSeconds": int64(26),
		"metrics.bindAddress": ":8443", "webhook.bindAddress": ":9443", "tls.profile": "Cluster",
	} {
		if got := flatten(none)[path]; got != value {
			t.Errorf("%s is %v, want %v", path, got, value)
		}
	}
	for text, want := range map[string]configv1alpha1.StartGate{
		"": configv1alpha1.StartGateContainer, "webhook: {mode: Disabled}": configv1alpha1.StartGatePause, "guests: {startGate: Pause}": configv1alpha1.StartGatePause,
	} {
		if got := parse(t, text).Guests.StartGate; got != want {
			t.Errorf("%q: the gate is %s, want %s", text, got, want)
		}
	}
	if c := parse(t, "client: {requestsPerSecond: 50}"); c.Client.Burst != 100 {
		t.Errorf("burst is %d, want twice the rate", c.Client.Burst)
	}
	if c := parse(t, "ruleWriter: {image: other:2}\naudit: {intervalSeconds: 0}"); c.RuleWriter.Image != "other:2" || *c.Audit.IntervalSeconds != 0 {
		t.Errorf("what the file says does not hold: %+v", c)
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		// want are parts of the message: the field and the way out.
		want []string
	}{
		"another kind":         {"apiVersion: v1\nkind: ConfigMap\n", []string{"config.meshvm.io/v1alpha1", "docs/configuration.md"}},
		"a later version":      {"apiVersion: config.meshvm.io/v2\nkind: OperatorConfiguration\n", []string{"config.meshvm.io/v2"}},
		"no YAML":              {"{", []string{"docs/configuration.md"}},
		"a typo":               {header + "audit: {interval: 10}", []string{`unknown field "audit.interval"`}},
		"a field twice":        {header + "audit: {}\naudit: {}", []string{"audit", "already set"}},
		"another type":         {header + "audit: {intervalSeconds: 10m}", []string{"intervalSeconds"}},
		"too often":            {header + "audit: {intervalSeconds: 9}", []string{"audit.intervalSeconds", "at least 10, or 0"}},
		"too seldom":           {header + "audit: {intervalSeconds: 100000}", []string{"audit.intervalSeconds", "from 0 to 86400"}},
		"negative":             {header + "audit: {intervalSeconds: -1}", []string{"audit.intervalSeconds"}},
		"too many workers":     {header + "controllers: {workers: 65}", []string{"controllers.workers", "from 1 to 64"}},
		"too many requests":    {header + "client: {requestsPerSecond: 10001}", []string{"client.requestsPerSecond"}},
		"burst alone":          {header + "client: {burst: 3}", []string{"client.burst", "set client.requestsPerSecond too"}},
		"burst too high":       {header + "client: {requestsPerSecond: 1, burst: 20001}", []string{"client.burst"}},
		"unknown gate":         {header + "guests: {startGate: Door}", []string{"guests.startGate", `"Container", "Pause"`}},
		"a gate in the air":    {header + "guests: {startGate: Container}\nwebhook: {mode: Disabled}", []string{"guests.startGate", "needs the webhook"}},
		"unknown level":        {header + "logging: {level: Loud}", []string{"logging.level", `"Error", "Info", "Debug", "Trace"`}},
		"unknown format":       {header + "logging: {format: XML}", []string{"logging.format", `"JSON", "Text"`}},
		"unknown election":     {header + "leaderElection: {mode: Sometimes}", []string{"leaderElection.mode"}},
		"renew after lease":    {header + "leaderElection: {leaseDurationSeconds: 100}", []string{"leaderElection.renewDeadlineSeconds", "less than leaseDurationSeconds, which is 100"}},
		"retry after renew":    {header + "leaderElection: {retryPeriodSeconds: 100}", []string{"leaderElection.retryPeriodSeconds", "renewDeadlineSeconds, which is 107"}},
		"a lease of hours":     {header + "leaderElection: {leaseDurationSeconds: 3601}", []string{"leaderElection.leaseDurationSeconds"}},
		"health without port":  {header + "health: {bindAddress: localhost}", []string{"health.bindAddress", "HOST:PORT", "0 turns it off"}},
		"metrics without port": {header + "metrics: {bindAddress: ':http'}", []string{"metrics.bindAddress"}},
		"relative directory":   {header + "metrics: {certificateDirectory: certs}", []string{"metrics.certificateDirectory", "absolute"}},
		"webhook off":          {header + "webhook: {bindAddress: '0'}", []string{"webhook.bindAddress", "webhook.mode to Disabled"}},
		"unknown webhook mode": {header + "webhook: {mode: Off}", []string{"webhook.mode"}},
		"unknown source":       {header + "webhook: {certificateSource: Vault}", []string{"webhook.certificateSource", `"SelfManaged", "Mounted"`}},
		"webhook's directory":  {header + "webhook: {certificateDirectory: certs}", []string{"webhook.certificateDirectory"}},
		"unknown profile":      {header + "tls: {profile: Custom}", []string{"tls.profile", `"Cluster"`}},
		"unknown pull policy":  {header + "ruleWriter: {imagePullPolicy: Seldom}", []string{"ruleWriter.imagePullPolicy"}},
		"no account's name":    {header + "ruleWriter: {serviceAccount: A_B}", []string{"ruleWriter.serviceAccount"}},
		"no class's name":      {header + "ruleWriter: {priorityClassName: A_B}", []string{"ruleWriter.priorityClassName"}},
		"no secret's name":     {header + "ruleWriter: {imagePullSecrets: [a, A_B]}", []string{"ruleWriter.imagePullSecrets[1]"}},
		"a secret twice":       {header + "ruleWriter: {imagePullSecrets: [a, a]}", []string{"ruleWriter.imagePullSecrets[1]", "Duplicate"}},
		"many secrets":         {header + "ruleWriter: {imagePullSecrets: [a,b,c,d,e,f,g,h,i,j,k,l,m,p,q,r,s]}", []string{"ruleWriter.imagePullSecrets", "at most 16"}},
		"all that is wrong":    {header + "controllers: {workers: 65}\ntls: {profile: Custom}", []string{"controllers.workers", "tls.profile"}},
	} {
		_, err := Parse([]byte(tc.text), environment)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\ndoes not say %q", name, err, want)
			}
		}
	}
	_, err := Parse([]byte(header), func(string) string { return "" })
	for _, want := range []string{"ruleWriter.image", EnvRuleWriterImage, "ruleWriter.serviceAccount", EnvRuleWriterServiceAccount} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without the environment: %v, want %q", err, want)
		}
	}
	if _, err := Load("/no/such/file", environment); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("without the file: %v", err)
	}
}
