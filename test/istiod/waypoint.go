// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// WaypointPort is a port of a Service on which a waypoint accepts connections.
type WaypointPort struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
	// Filters are the filters that policies add.
	Filters []string `json:"filters,omitempty"`
	// Ports are the ports that the filters compare.
	Ports []string `json:"ports,omitempty"`
}

// waypointListener is the listener of a waypoint for connections from ztunnel
// (Istio, pilot/pkg/networking/core, listener_waypoint.go).
const waypointListener = "main_internal"

var comparedPort = regexp.MustCompile(`"destinationPort":\s*([0-9]+)`)

// waypoint returns the ports of the Service with the host.
func (r resources) waypoint(host string) []WaypointPort {
	var all []WaypointPort
	for _, l := range r.listeners {
		if l.Name != waypointListener {
			continue
		}
		for _, c := range l.FilterChains {
			parts := strings.Split(c.Name, "|") // inbound-vip, port, protocol, host
			if len(parts) != 4 || parts[3] != host {
				continue
			}
			p := WaypointPort{Protocol: strings.ToUpper(parts[2])}
			p.Port, _ = strconv.Atoi(parts[1])
			filters := c.Filters
			if m, ok := c.http(); ok {
				filters = append(slices.Clone(filters), m.HTTPFilters...)
			}
			for _, text := range describe(filters) {
				if strings.HasPrefix(text, "rbac") || strings.HasPrefix(text, "jwt_authn") {
					p.Filters = append(p.Filters, text)
				}
			}
			for _, f := range filters {
				for _, match := range comparedPort.FindAllSubmatch(f.TypedConfig, -1) {
					if number := string(match[1]); !slices.Contains(p.Ports, number) {
						p.Ports = append(p.Ports, number)
					}
				}
			}
			slices.Sort(p.Ports)
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b WaypointPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return all
}
