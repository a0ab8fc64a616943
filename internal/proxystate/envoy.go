// SPDX-License-Identifier: Apache-2.0

package proxystate

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"meshvm.io/meshvm/internal/ruleio"
)

// serverInfo is the answer to /server_info (Envoy, api/envoy/admin/v3/server_info.proto).
type serverInfo struct {
	Version string `json:"version"`
	State   string `json:"state"`
}

func (s *serverInfo) decode(from io.Reader) error { return object(from, s) }

// releaseNumber is the part of Envoy's version that is a release,
// REVISION/RELEASE/STATUS/TYPE/TLS.
var releaseNumber = regexp.MustCompile(`^[0-9A-Za-z.-]{1,32}$`)

func (s *serverInfo) version() string {
	parts := strings.Split(s.Version, "/")
	if len(parts) < 2 || !releaseNumber.MatchString(parts[1]) {
		return ""
	}
	return parts[1]
}

func (s *serverInfo) phase() ruleio.ProxyPhase {
	switch s.State {
	case "LIVE":
		return ruleio.ProxyLive
	case "DRAINING":
		return ruleio.ProxyDraining
	default: // PRE_INITIALIZING or INITIALIZING.
		return ruleio.ProxyStarting
	}
}

// address is an address of a listener (Envoy, api/envoy/config/core/v3/address.proto).
type address struct {
	Socket struct {
		Port uint32 `json:"port_value"`
	} `json:"socket_address"`
}

// decoder returns a function that decodes the answer to /listeners, and keeps
// the names of the listeners on a port.
func (n *listenerNames) decoder(port uint16) func(io.Reader) error {
	return func(from io.Reader) error {
		return elements(from, "listener_statuses", func(d *json.Decoder) error {
			var l struct {
				Name    string    `json:"name"`
				Address address   `json:"local_address"`
				More    []address `json:"additional_local_addresses"`
			}
			if err := d.Decode(&l); err != nil {
				return err
			}
			for _, a := range append(l.More, l.Address) {
				if a.Socket.Port == uint32(port) {
					if len(*n) == maxListeners {
						return fmt.Errorf("%w: more than %d listeners on port %d", errAnswer, maxListeners, port)
					}
					*n = append(*n, l.Name)
					break
				}
			}
			return nil
		})
	}
}

// updates are the listeners' failed updates (Envoy,
// api/envoy/admin/v3/config_dump_shared.proto, UpdateFailureState). Envoy
// removes the error with the next successful update.
type updates struct{ rejected bool }

func (u *updates) decode(from io.Reader) error {
	return elements(from, "configs", func(d *json.Decoder) error {
		var l struct {
			Error *struct{} `json:"error_state"`
		}
		err := d.Decode(&l)
		u.rejected = u.rejected || l.Error != nil
		return err
	})
}

// stats are the numbers that the other answers do not contain.
type stats struct {
	// disconnected is set if no stream of configuration is open to Istio's agent,
	// which ends it when istiod is not reachable.
	disconnected bool
	// stopped is set after the listeners were stopped by a drain.
	stopped bool
}

const (
	statStream  = "cluster.xds-grpc.upstream_rq_active"
	statStopped = "listener_manager.listener_stopped"
)

// filter matches the names of the numbers. The name of a cluster ends with a
// semicolon in Istio's configuration.
func (s *stats) filter() string {
	return `^(cluster\.xds-grpc;?\.upstream_rq_active|listener_manager\.listener_stopped)$`
}

// decode decodes lines NAME: VALUE.
func (s *stats) decode(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: a number is expected", errAnswer)
		}
		switch strings.ReplaceAll(name, ";", "") {
		case statStream:
			s.disconnected = n == 0
		case statStopped:
			s.stopped = n > 0
		}
	}
	return lines.Err()
}

// certificates are the answer to /certs (Envoy, api/envoy/admin/v3/certs.proto).
type certificates struct {
	identity string
	expiry   time.Time
}

// maxIdentity is the maximum length of an identity that is reported.
const maxIdentity = 512

// identities are the names of workloads (SPIFFE ID).
var identities = regexp.MustCompile(`^spiffe://[0-9A-Za-z._~:/-]+$`)

// decode keeps the first identity and the earliest expiry of the proxy's own
// certificates.
func (c *certificates) decode(from io.Reader) error {
	return elements(from, "certificates", func(d *json.Decoder) error {
		var pair struct {
			Chain []struct {
				Names []struct {
					URI string `json:"uri"`
				} `json:"subject_alt_names"`
				Expires time.Time `json:"expiration_time"`
			} `json:"cert_chain"`
		}
		if err := d.Decode(&pair); err != nil {
			return err
		}
		for _, one := range pair.Chain {
			if len(one.Names) == 0 || len(one.Names[0].URI) > maxIdentity || !identities.MatchString(one.Names[0].URI) {
				continue
			}
			if c.identity == "" {
				c.identity = one.Names[0].URI
			}
			if c.expiry.IsZero() || one.Expires.Before(c.expiry) {
				c.expiry = one.Expires
			}
		}
		return nil
	})
}

func (c *certificates) describe(out *ruleio.ProxyState) {
	out.Identity = c.identity
	if c.identity != "" && !c.expiry.IsZero() {
		out.CertificateExpiry = c.expiry.Unix()
	}
}

// object decodes the value of an answer.
func object(from io.Reader, v any) error {
	if err := json.NewDecoder(from).Decode(v); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}

// elements calls decode for each element of the array with a name in an object, so
// that a long answer is never stored as a whole.
func elements(from io.Reader, name string, decode func(*json.Decoder) error) error {
	d := json.NewDecoder(from)
	if err := delimiter(d, '{'); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", errAnswer, err)
		}
		if key != name {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return fmt.Errorf("%w: %w", errAnswer, err)
			}
			continue
		}
		if err := delimiter(d, '['); err != nil {
			return err
		}
		for d.More() {
			if err := decode(d); err != nil {
				return fmt.Errorf("%w: %w", errAnswer, err)
			}
		}
		if err := delimiter(d, ']'); err != nil {
			return err
		}
	}
	return delimiter(d, '}')
}

func delimiter(d *json.Decoder, want json.Delim) error {
	switch got, err := d.Token(); {
	case err != nil:
		return fmt.Errorf("%w: %w", errAnswer, err)
	case got != want:
		return fmt.Errorf("%w: %s is expected", errAnswer, want)
	}
	return nil
}
