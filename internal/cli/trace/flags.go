// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"meshvm.io/meshvm/api/v1alpha1"
)

// liveFlags select the pod and the connections of a trace. Empty flags match everything.
type liveFlags struct {
	port, from, protocol, source, to, role string
	flows                                  int32
	duration                               time.Duration
}

func (f *liveFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.port, "port", "", "The name of a port in spec.ports. Selects connections from outside to this port of the guest.")
	flags.Var(oneOf(&f.from, v1alpha1.TraceOriginGuest, v1alpha1.TraceOriginOutside, v1alpha1.TraceOriginPod), "from", "Where the connection starts: guest, outside or pod.")
	flags.Var(oneOf(&f.protocol, v1alpha1.TraceProtocolTCP, v1alpha1.TraceProtocolUDP, v1alpha1.TraceProtocolICMP, v1alpha1.TraceProtocolICMPv6), "protocol", "The protocol: tcp, udp, icmp or icmpv6. Without it, TCP and UDP match.")
	flags.StringVar(&f.source, "source", "", "The address and port of the client. Each can be omitted: 10.1.2.3, 10.1.2.3:40000, :40000 or [fd00::1]:40000.")
	flags.StringVar(&f.to, "to", "", "The address and port of the first packet when it enters the pod, in the same notation. For connections to the guest, these are the address of the pod and the targetPort.")
	flags.Var(oneOf(&f.role, v1alpha1.PodRoleActive, v1alpha1.PodRoleMigrationSource, v1alpha1.PodRoleMigrationTarget), "role", "The pod during a live migration: Active, MigrationSource or MigrationTarget.")
	flags.Int32Var(&f.flows, "flows", 1, "The number of connections after which the trace ends, at most 8.")
	flags.DurationVar(&f.duration, "duration", v1alpha1.DefaultTraceSeconds*time.Second, "The maximum duration of the trace, at most 5m.")
}

// choice is a flag with a value of the API. Uppercase and lowercase letters are equal.
type choice struct {
	value  *string
	values []string
}

func oneOf[T ~string](value *string, values ...T) *choice {
	c := &choice{value: value}
	for _, v := range values {
		c.values = append(c.values, string(v))
	}
	return c
}

// String returns the value.
func (c *choice) String() string { return *c.value }

// Type returns the name of the value in the help.
func (c *choice) Type() string { return "string" }

// Set sets a value. It returns an error that contains the permitted values.
func (c *choice) Set(s string) error {
	for _, v := range c.values {
		if strings.EqualFold(s, v) {
			*c.value = v
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(c.values, ", "))
}

// endpoint parses an address, a port, or both.
func endpoint(flag, text string) (address string, port int32, err error) {
	if text == "" {
		return "", 0, nil
	}
	if digits, ok := strings.CutPrefix(text, ":"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err == nil && n > 0 {
			return "", int32(n), nil
		}
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return a.String(), 0, nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Port() > 0 {
		return ap.Addr().String(), int32(ap.Port()), nil
	}
	return "", 0, fmt.Errorf("%s %q is not an address, a port or both: use 10.1.2.3, 10.1.2.3:443, :443 or [fd00::1]:443", flag, text)
}
