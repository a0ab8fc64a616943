// SPDX-License-Identifier: Apache-2.0

// Package operatorconfig reads the operator's configuration file. It decodes
// the file strictly, applies defaults, validates it and watches it for changes.
package operatorconfig

import (
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/utils/ptr"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
	"meshvm.io/meshvm/internal/startgate"
)

// Environment variables that the installation manifests set. OLM replaces
// images in environment variables.
const (
	EnvRuleWriterImage          = "RULE_WRITER_IMAGE"
	EnvRuleWriterServiceAccount = "RULE_WRITER_SERVICE_ACCOUNT"
	EnvTracerImage              = "TRACER_IMAGE"
)

var codecs = newCodecs()

func newCodecs() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	utilruntime.Must(configv1alpha1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict)
}

// Load reads the file, or returns the defaults if path is empty. The error
// lists all invalid fields and how to correct them.
func Load(path string, env func(string) string) (*configv1alpha1.OperatorConfiguration, error) {
	if path == "" {
		return Parse(nil, env)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the operator's configuration: %w", err)
	}
	c, err := Parse(text, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse decodes the content of a file, or returns the defaults if text is nil.
func Parse(text []byte, env func(string) string) (*configv1alpha1.OperatorConfiguration, error) {
	c := &configv1alpha1.OperatorConfiguration{}
	if text != nil {
		if err := runtime.DecodeInto(codecs.UniversalDecoder(), text, c); err != nil {
			return nil, fmt.Errorf("not an OperatorConfiguration of %s (see docs/configuration.md for all fields): %w", configv1alpha1.GroupVersion, err)
		}
	}
	Default(c, env)
	if errs := Validate(c); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return c, nil
}

// Default sets all fields that are not set to their defaults, except for
// cluster.domain, which ClusterDomain detects.
func Default(c *configv1alpha1.OperatorConfiguration, env func(string) string) {
	set(&c.RuleWriter.Image, env(EnvRuleWriterImage))
	set(&c.RuleWriter.ServiceAccount, env(EnvRuleWriterServiceAccount))
	set(&c.RuleWriter.ImagePullPolicy, configv1alpha1.PullIfNotPresent)
	set(&c.RuleWriter.PriorityClassName, "system-node-critical")
	set(&c.Tracer.Image, env(EnvTracerImage))
	set(&c.Audit.IntervalSeconds, ptr.To[int32](600))
	set(&c.Controllers.Workers, 4)
	set(&c.Client.RequestsPerSecond, ptr.To[int32](0))
	set(&c.Client.Burst, 2**c.Client.RequestsPerSecond)
	set(&c.Logging.Level, configv1alpha1.LogInfo)
	set(&c.Logging.Format, configv1alpha1.LogJSON)
	set(&c.LeaderElection.Mode, configv1alpha1.Enabled)
	set(&c.LeaderElection.LeaseDurationSeconds, 30)
	set(&c.LeaderElection.RenewDeadlineSeconds, 20)
	set(&c.LeaderElection.RetryPeriodSeconds, 4)
	set(&c.Health.BindAddress, ":8081")
	set(&c.Metrics.BindAddress, ":8443")
	set(&c.Webhook.Mode, configv1alpha1.Enabled)
	set(&c.Webhook.BindAddress, ":9443")
	set(&c.Webhook.CertificateSource, configv1alpha1.CertificateSelfManaged)
	set(&c.Webhook.CertificateDirectory, "/tmp/k8s-webhook-server/serving-certs")
	if c.Webhook.Mode == configv1alpha1.Disabled {
		set(&c.Guests.StartGate, configv1alpha1.StartGatePause)
	}
	set(&c.Guests.StartGate, configv1alpha1.StartGateContainer)
	gate := startgate.DefaultResources()
	set(&c.Guests.StartGateResources.CPU, &gate.CPU)
	set(&c.Guests.StartGateResources.CPULimit, &gate.CPULimit)
	set(&c.Guests.StartGateResources.Memory, &gate.Memory)
	set(&c.Mesh.RootNamespace, meshpolicy.DefaultRootNamespace)
	set(&c.Tenancy.Gateways.Mode, configv1alpha1.GatewaysSameNamespace)
	set(&c.Tenancy.Patches, configv1alpha1.Disabled)
	set(&c.Tenancy.Adoption, configv1alpha1.AdoptionByAnnotation)
	set(&c.TLS.Profile, configv1alpha1.TLSProfileCluster)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Seconds converts a number of seconds to a duration.
func Seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
