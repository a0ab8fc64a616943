// SPDX-License-Identifier: Apache-2.0

package proxystate

import (
	"encoding/json"
	"io"
	"slices"
	"strings"

	"meshvm.io/meshvm/internal/ruleio"
)

// chain is the part of a filter chain that decides whether a connection needs a
// client certificate (Envoy, api/envoy/config/listener/v3/listener_components.proto).
type chain struct {
	Match struct {
		Port uint32 `json:"destination_port"`
	} `json:"filter_chain_match"`
	Socket struct {
		Config tlsContext `json:"typed_config"`
	} `json:"transport_socket"`
}

// tlsContext is a DownstreamTlsContext, or another transport socket (Envoy,
// api/envoy/extensions/transport_sockets/tls/v3).
type tlsContext struct {
	Type    string `json:"@type"`
	Require bool   `json:"require_client_certificate"`
	Common  struct {
		Validation *validation `json:"validation_context"`
		SDS        *struct{}   `json:"validation_context_sds_secret_config"`
		Combined   *struct {
			Default *validation `json:"default_validation_context"`
			SDS     *struct{}   `json:"validation_context_sds_secret_config"`
		} `json:"combined_validation_context"`
	} `json:"common_tls_context"`
}

// validation is a CertificateValidationContext.
type validation struct {
	CA    *struct{} `json:"trusted_ca"`
	Trust string    `json:"trust_chain_verification"`
}

// verifies reports whether the context names certificate authorities.
func (v *validation) verifies() bool { return v != nil && v.CA != nil }

// trustsAll reports whether the context accepts certificates of any authority.
func (v *validation) trustsAll() bool { return v != nil && v.Trust == "ACCEPT_UNTRUSTED" }

// mutual reports whether the chain accepts only connections with a client
// certificate of a trusted authority. Every other transport socket counts as plain
// text.
func (c chain) mutual() bool {
	t := c.Socket.Config
	if !strings.HasSuffix(t.Type, ".DownstreamTlsContext") || !t.Require {
		return false
	}
	verified := t.Common.SDS != nil || t.Common.Validation.verifies()
	trustsAll := t.Common.Validation.trustsAll()
	if combined := t.Common.Combined; combined != nil {
		verified = verified || combined.SDS != nil || combined.Default.verifies()
		trustsAll = trustsAll || combined.Default.trustsAll()
	}
	return verified && !trustsAll
}

// chains are the filter chains of the listeners on the inbound port.
type chains struct {
	// byPort contains the chains of a destination port, and 0 the chains of all
	// other ports.
	byPort map[uint32][]chain
	// anyPort are chains that can accept connections to every port: the default
	// chains, and chains that a matcher selects by other rules.
	anyPort []chain
}

// decode decodes the answer to /config_dump with the dynamic listeners. Chains
// are taken from the active state: a listener that is warming does not accept
// connections.
func (c *chains) decode(from io.Reader) error {
	c.byPort = map[uint32][]chain{}
	return elements(from, "configs", func(d *json.Decoder) error {
		var l struct {
			Active struct {
				Listener struct {
					Chains  []chain   `json:"filter_chains"`
					Default *chain    `json:"default_filter_chain"`
					Matcher *struct{} `json:"filter_chain_matcher"`
					// Other is set if another listener can accept a connection
					// by its original destination.
					Other bool `json:"use_original_dst"`
				} `json:"listener"`
			} `json:"active_state"`
		}
		if err := d.Decode(&l); err != nil {
			return err
		}
		listener := l.Active.Listener
		for _, one := range listener.Chains {
			if listener.Matcher != nil {
				c.anyPort = append(c.anyPort, one)
				continue
			}
			c.byPort[one.Match.Port] = append(c.byPort[one.Match.Port], one)
		}
		if listener.Default != nil {
			c.anyPort = append(c.anyPort, *listener.Default)
		}
		if listener.Other {
			c.anyPort = append(c.anyPort, chain{})
		}
		return nil
	})
}

// describe sets the modes of the ports. Envoy selects by the destination port first:
// if a chain names the port, chains without a port do not apply (Envoy,
// FilterChainManagerImpl::findFilterChain). All other criteria of a chain, such as
// source networks or protocols, count as met, so that a mode is never reported
// stronger than it is. A port that no chain accepts has no mode.
func (c *chains) describe(ports []uint16, out *ruleio.ProxyState) {
	for _, port := range ports {
		candidates := c.byPort[uint32(port)]
		if len(candidates) == 0 {
			candidates = c.byPort[0]
		}
		mutual, other := false, false
		for _, one := range append(slices.Clip(candidates), c.anyPort...) {
			if one.mutual() {
				mutual = true
			} else {
				other = true
			}
		}
		entry := ruleio.PortRange{First: port, Last: port}
		switch {
		case mutual && other:
			out.Permissive = append(out.Permissive, entry)
		case mutual:
			out.Strict = append(out.Strict, entry)
		case other:
			out.Disabled = append(out.Disabled, entry)
		}
	}
}
