// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

// maxPullSecrets is the maximum length of ruleWriter.imagePullSecrets.
const maxPullSecrets = 16

// Validate returns all errors of a configuration whose defaults are set.
func Validate(c *configv1alpha1.OperatorConfiguration) field.ErrorList {
	var v validator
	v.ruleWriter(field.NewPath("ruleWriter"), &c.RuleWriter)
	if c.Tracer.Image == "" {
		v.errs = append(v.errs, field.Required(field.NewPath("tracer", "image"), "set the tracer's image here or in the environment variable "+EnvTracerImage))
	}

	interval := field.NewPath("audit", "intervalSeconds")
	v.between(interval, *c.Audit.IntervalSeconds, 0, 86400)
	if n := *c.Audit.IntervalSeconds; n > 0 && n < 10 {
		v.invalid(interval, n, "must be at least 10, or 0 to disable audits")
	}
	v.between(field.NewPath("controllers", "workers"), c.Controllers.Workers, 1, 64)
	v.between(field.NewPath("client", "requestsPerSecond"), *c.Client.RequestsPerSecond, 0, 10000)
	if *c.Client.RequestsPerSecond > 0 {
		v.between(field.NewPath("client", "burst"), c.Client.Burst, 1, 20000)
	} else if c.Client.Burst != 0 {
		v.invalid(field.NewPath("client", "burst"), c.Client.Burst, "set client.requestsPerSecond or omit burst")
	}
	logging := field.NewPath("logging")
	oneOf(&v, logging.Child("level"), c.Logging.Level, configv1alpha1.LogError, configv1alpha1.LogInfo, configv1alpha1.LogDebug, configv1alpha1.LogTrace)
	oneOf(&v, logging.Child("format"), c.Logging.Format, configv1alpha1.LogJSON, configv1alpha1.LogText)
	v.leaderElection(field.NewPath("leaderElection"), &c.LeaderElection)

	v.address(field.NewPath("health", "bindAddress"), c.Health.BindAddress, mayBeOff)
	v.address(field.NewPath("metrics", "bindAddress"), c.Metrics.BindAddress, mayBeOff)
	if c.Metrics.CertificateDirectory != "" {
		v.directory(field.NewPath("metrics", "certificateDirectory"), c.Metrics.CertificateDirectory)
	}
	webhook := field.NewPath("webhook")
	oneOf(&v, webhook.Child("mode"), c.Webhook.Mode, configv1alpha1.Enabled, configv1alpha1.Disabled)
	v.address(webhook.Child("bindAddress"), c.Webhook.BindAddress, "set webhook.mode to Disabled to disable the server")
	oneOf(&v, webhook.Child("certificateSource"), c.Webhook.CertificateSource, configv1alpha1.CertificateSelfManaged, configv1alpha1.CertificateMounted)
	v.directory(webhook.Child("certificateDirectory"), c.Webhook.CertificateDirectory)
	gate := field.NewPath("guests", "startGate")
	oneOf(&v, gate, c.Guests.StartGate, configv1alpha1.StartGateContainer, configv1alpha1.StartGatePause)
	if c.Guests.StartGate == configv1alpha1.StartGateContainer && c.Webhook.Mode == configv1alpha1.Disabled {
		v.invalid(gate, c.Guests.StartGate, "requires the webhook: set webhook.mode to Enabled or guests.startGate to Pause")
	}
	v.gateResources(field.NewPath("guests", "startGateResources"), &c.Guests.StartGateResources)
	if c.Cluster.Domain != "" {
		v.name(field.NewPath("cluster", "domain"), c.Cluster.Domain)
	}
	for _, problem := range validation.IsDNS1123Label(c.Mesh.RootNamespace) {
		v.invalid(field.NewPath("mesh", "rootNamespace"), c.Mesh.RootNamespace, problem)
	}
	v.gateways(field.NewPath("tenancy", "gateways"), &c.Tenancy.Gateways)
	oneOf(&v, field.NewPath("tenancy", "patches"), c.Tenancy.Patches, configv1alpha1.Disabled, configv1alpha1.Enabled)
	oneOf(&v, field.NewPath("tenancy", "adoption"), c.Tenancy.Adoption, configv1alpha1.AdoptionByAnnotation, configv1alpha1.AdoptionByPolicy)
	oneOf(&v, field.NewPath("tls", "profile"), c.TLS.Profile, configv1alpha1.TLSProfileCluster,
		configv1alpha1.TLSProfileOld, configv1alpha1.TLSProfileIntermediate, configv1alpha1.TLSProfileModern)
	return v.errs
}

// validator collects errors.
type validator struct{ errs field.ErrorList }

func (v *validator) invalid(p *field.Path, value any, wayOut string) {
	v.errs = append(v.errs, field.Invalid(p, value, wayOut))
}

func (v *validator) ruleWriter(p *field.Path, r *configv1alpha1.RuleWriter) {
	if r.Image == "" {
		v.errs = append(v.errs, field.Required(p.Child("image"), "set the rule-writer's image here or in the environment variable "+EnvRuleWriterImage))
	}
	if r.ServiceAccount == "" {
		v.errs = append(v.errs, field.Required(p.Child("serviceAccount"), "set the rule-writer's service account here or in the environment variable "+EnvRuleWriterServiceAccount))
	} else {
		v.name(p.Child("serviceAccount"), r.ServiceAccount)
	}
	oneOf(v, p.Child("imagePullPolicy"), r.ImagePullPolicy, configv1alpha1.PullAlways, configv1alpha1.PullIfNotPresent, configv1alpha1.PullNever)
	if len(r.ImagePullSecrets) > maxPullSecrets {
		v.errs = append(v.errs, field.TooMany(p.Child("imagePullSecrets"), len(r.ImagePullSecrets), maxPullSecrets))
	}
	for i, name := range r.ImagePullSecrets {
		v.name(p.Child("imagePullSecrets").Index(i), name)
		if slices.Contains(r.ImagePullSecrets[:i], name) {
			v.errs = append(v.errs, field.Duplicate(p.Child("imagePullSecrets").Index(i), name))
		}
	}
	v.name(p.Child("priorityClassName"), r.PriorityClassName)
}

// leastGateMemory is the memory in MiB with which the program of the start gate runs.
const leastGateMemory = 16

func (v *validator) gateResources(p *field.Path, r *configv1alpha1.StartGateResources) {
	for _, f := range []struct {
		name  string
		value *resource.Quantity
	}{{"cpu", r.CPU}, {"cpuLimit", r.CPULimit}} {
		if f.value.Sign() <= 0 {
			v.invalid(p.Child(f.name), f.value.String(), "must be greater than 0")
		}
	}
	if r.Memory.Cmp(*resource.NewQuantity(leastGateMemory<<20, resource.BinarySI)) < 0 {
		v.invalid(p.Child("memory"), r.Memory.String(), fmt.Sprintf("must be at least %dMi", leastGateMemory))
	}
}

func (v *validator) leaderElection(p *field.Path, l *configv1alpha1.LeaderElection) {
	oneOf(v, p.Child("mode"), l.Mode, configv1alpha1.Enabled, configv1alpha1.Disabled)
	lease, renew, retry := p.Child("leaseDurationSeconds"), p.Child("renewDeadlineSeconds"), p.Child("retryPeriodSeconds")
	v.between(lease, l.LeaseDurationSeconds, 1, 3600)
	v.between(renew, l.RenewDeadlineSeconds, 1, 3600)
	v.between(retry, l.RetryPeriodSeconds, 1, 3600)
	if l.RenewDeadlineSeconds >= l.LeaseDurationSeconds {
		v.invalid(renew, l.RenewDeadlineSeconds, fmt.Sprintf("must be less than leaseDurationSeconds, which is %d: a leader has to stop before another manager replaces it", l.LeaseDurationSeconds))
	}
	// client-go, tools/leaderelection: the retry period has a jitter factor of
	// 1.2.
	if float64(l.RetryPeriodSeconds)*1.2 >= float64(l.RenewDeadlineSeconds) {
		v.invalid(retry, l.RetryPeriodSeconds, fmt.Sprintf("1.2 times this value must be less than renewDeadlineSeconds, which is %d", l.RenewDeadlineSeconds))
	}
}

func (v *validator) between(p *field.Path, n, least, most int32) {
	if n < least || n > most {
		v.invalid(p, n, fmt.Sprintf("must be from %d to %d", least, most))
	}
}

func oneOf[T ~string](v *validator, p *field.Path, value T, known ...T) {
	if !slices.Contains(known, value) {
		v.errs = append(v.errs, field.NotSupported(p, value, known))
	}
}

// mayBeOff is the hint for servers that can be disabled.
const mayBeOff = "0 disables the server"

// address checks that an address is HOST:PORT.
func (v *validator) address(p *field.Path, address, off string) {
	if address == "0" && off == mayBeOff {
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		v.invalid(p, address, "must be HOST:PORT, or :PORT for all addresses; "+off)
	}
}

func (v *validator) directory(p *field.Path, dir string) {
	if !filepath.IsAbs(dir) {
		v.invalid(p, dir, "must be an absolute path")
	}
}

func (v *validator) name(p *field.Path, name string) {
	for _, problem := range validation.IsDNS1123Subdomain(name) {
		v.invalid(p, name, problem)
	}
}
