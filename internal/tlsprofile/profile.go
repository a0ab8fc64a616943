// SPDX-License-Identifier: Apache-2.0

// Package tlsprofile configures the manager's servers with a TLS security
// profile: a profile of the operator's configuration, or the profile of the
// cluster. On OpenShift the cluster's profile is in the APIServer object
// "cluster" of config.openshift.io and can change at any time.
package tlsprofile

import (
	"crypto/tls"
	"slices"
	"sync/atomic"

	openshiftv1 "github.com/openshift/api/config/v1"
)

// ciphers maps the OpenSSL names of ciphers in profiles to Go. Go does not
// implement other ciphers of profiles, and its TLS 1.3 ciphers are not
// configurable.
var ciphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

var versions = map[openshiftv1.TLSProtocolVersion]uint16{
	openshiftv1.VersionTLS10: tls.VersionTLS10,
	openshiftv1.VersionTLS11: tls.VersionTLS11,
	openshiftv1.VersionTLS12: tls.VersionTLS12,
	openshiftv1.VersionTLS13: tls.VersionTLS13,
}

// Settings are a profile in terms of crypto/tls.
type Settings struct {
	// MinVersion is a TLS version of crypto/tls.
	MinVersion uint16
	// CipherSuites are the cipher suites for TLS 1.2 and earlier. They are not
	// empty unless MinVersion is TLS 1.3.
	CipherSuites []uint16
}

// Of converts a profile. No profile means Intermediate. An unknown profile, or
// a profile without a supported cipher, means Modern, the strictest profile.
func Of(p *openshiftv1.TLSSecurityProfile) Settings {
	if p == nil || p.Type == "" {
		return Named(openshiftv1.TLSProfileIntermediateType)
	}
	if p.Type != openshiftv1.TLSProfileCustomType {
		return Named(p.Type)
	}
	if p.Custom == nil {
		return Named(openshiftv1.TLSProfileModernType)
	}
	return settings(&p.Custom.TLSProfileSpec)
}

// Named converts a predefined profile.
func Named(name openshiftv1.TLSProfileType) Settings {
	spec, known := openshiftv1.TLSProfiles[name]
	if !known {
		spec = openshiftv1.TLSProfiles[openshiftv1.TLSProfileModernType]
	}
	return settings(spec)
}

func settings(spec *openshiftv1.TLSProfileSpec) Settings {
	strict := Settings{MinVersion: tls.VersionTLS13}
	s := Settings{MinVersion: versions[spec.MinTLSVersion]}
	if s.MinVersion == 0 || s.MinVersion == tls.VersionTLS13 {
		return strict
	}
	for _, name := range spec.Ciphers {
		if id, ok := ciphers[name]; ok && !slices.Contains(s.CipherSuites, id) {
			s.CipherSuites = append(s.CipherSuites, id)
		}
	}
	if len(s.CipherSuites) == 0 {
		return strict
	}
	return s
}

// Equal reports whether two profiles are equal.
func (s Settings) Equal(o Settings) bool {
	return s.MinVersion == o.MinVersion && slices.Equal(s.CipherSuites, o.CipherSuites)
}

// Current contains the profile in effect. The zero value is Intermediate.
type Current struct{ cluster, chosen atomic.Pointer[Settings] }

// Set sets the cluster's profile, which is in effect for new connections unless
// another profile is chosen. It reports whether the profile in effect changed.
func (c *Current) Set(s Settings) bool {
	before := c.Get()
	c.cluster.Store(&s)
	return !before.Equal(c.Get())
}

// Choose overrides the cluster's profile. With nil, the cluster's profile is in
// effect again.
func (c *Current) Choose(s *Settings) { c.chosen.Store(s) }

// follows reports whether the cluster's profile is in effect.
func (c *Current) follows() bool { return c.chosen.Load() == nil }

// Get returns the profile in effect.
func (c *Current) Get() Settings {
	for _, p := range []*atomic.Pointer[Settings]{&c.chosen, &c.cluster} {
		if s := p.Load(); s != nil {
			return *s
		}
	}
	return Named(openshiftv1.TLSProfileIntermediateType)
}

// Apply is for TLSOpts of controller-runtime's servers. Each handshake uses the
// profile that is in effect at that time.
func (c *Current) Apply(config *tls.Config) {
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := c.Get()
		forClient := config.Clone()
		forClient.GetConfigForClient = nil
		forClient.MinVersion, forClient.CipherSuites = s.MinVersion, s.CipherSuites
		return forClient, nil
	}
}
