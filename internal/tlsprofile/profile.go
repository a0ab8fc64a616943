// SPDX-License-Identifier: Apache-2.0

// Package tlsprofile makes the manager's servers offer what a TLS security
// profile allows: one that the operator's configuration names, or that of the
// cluster, which on OpenShift is in the APIServer object "cluster" of
// config.openshift.io and may change at any time.
package tlsprofile

import (
	"crypto/tls"
	"slices"
	"sync/atomic"

	openshiftv1 "github.com/openshift/api/config/v1"
)

// ciphers are Go's names for the ciphers that profiles name as OpenSSL does. Go
// has no others of them, and does not let those of TLS 1.3 be chosen.
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

// Settings are a profile in the terms of crypto/tls.
type Settings struct {
	// MinVersion is a version of crypto/tls.
	MinVersion uint16
	// CipherSuites are those for TLS 1.2 and before; never empty unless
	// MinVersion is 1.3.
	CipherSuites []uint16
}

// Of translates a profile. None means Intermediate. One that this program does
// not know, or can serve no cipher of, means Modern: strict rather than open.
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

// Named is Of for a profile without values of its own.
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

// Equal says whether two profiles offer the same.
func (s Settings) Equal(o Settings) bool {
	return s.MinVersion == o.MinVersion && slices.Equal(s.CipherSuites, o.CipherSuites)
}

// Current holds the profile in force. The zero value is Intermediate.
type Current struct{ cluster, chosen atomic.Pointer[Settings] }

// Set takes over the cluster's profile, which is in force unless another is
// chosen, for connections from now on. It says whether that changes anything.
func (c *Current) Set(s Settings) bool {
	before := c.Get()
	c.cluster.Store(&s)
	return !before.Equal(c.Get())
}

// Choose puts a profile in force whatever the cluster's is; nil goes back to the
// cluster's.
func (c *Current) Choose(s *Settings) { c.chosen.Store(s) }

// follows says whether the cluster's profile counts.
func (c *Current) follows() bool { return c.chosen.Load() == nil }

// Get is the profile in force.
func (c *Current) Get() Settings {
	for _, p := range []*atomic.Pointer[Settings]{&c.chosen, &c.cluster} {
		if s := p.Load(); s != nil {
			return *s
		}
	}
	return Named(openshiftv1.TLSProfileIntermediateType)
}

// Apply is for the TLSOpts of controller-runtime's servers: every handshake goes
// by the profile that is in force at that moment.
func (c *Current) Apply(config *tls.Config) {
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := c.Get()
		forClient := config.Clone()
		forClient.GetConfigForClient = nil
		forClient.MinVersion, forClient.CipherSuites = s.MinVersion, s.CipherSuites
		return forClient, nil
	}
}
