// SPDX-License-Identifier: Apache-2.0

package connectiontrace

import (
	"cmp"
	"slices"
	"strings"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/flowio"
)

// origins maps the values of the API to those of the tracer.
var origins = map[v1alpha1.TraceOrigin]flowio.From{
	v1alpha1.TraceOriginGuest:   flowio.FromGuest,
	v1alpha1.TraceOriginOutside: flowio.FromOutside,
	v1alpha1.TraceOriginPod:     flowio.FromPod,
}

// requestFor returns the request for the tracer.
func requestFor(t *v1alpha1.ConnectionTrace, on *target) (flowio.Request, *obstacle) {
	f := t.Spec.Flow
	flow := flowio.Flow{
		From: origins[f.From], Protocol: protocol(string(f.Protocol)),
		Source: f.Source, SourcePort: port(f.SourcePort),
		Destination: f.Destination, DestinationPort: port(f.DestinationPort),
	}
	if f.Port != "" {
		i := slices.IndexFunc(on.mvm.Spec.Ports, func(p v1alpha1.Port) bool { return p.Name == f.Port })
		if i < 0 {
			return flowio.Request{}, &obstacle{reason: v1alpha1.ReasonPortNotFound, message: "MeshedVirtualMachine " + on.mvm.Name + " has no port named " + f.Port + " in spec.ports", final: true}
		}
		p := on.mvm.Spec.Ports[i]
		flow.From = flowio.FromOutside
		flow.Protocol = protocol(string(cmp.Or(p.Protocol, v1alpha1.PortProtocolTCP)))
		flow.DestinationPort = port(p.TargetPortOrDefault())
	}
	r := flowio.Request{
		Version: flowio.RequestVersion, PodUID: string(on.pod.UID),
		PodInterface: on.config.Spec.Interfaces.Pod, Bridge: on.config.Spec.Interfaces.Bridge,
		Proxy:                flowio.Proxy{InboundPort: port(on.config.Spec.Proxy.InboundPort), OutboundPort: port(on.config.Spec.Proxy.OutboundPort)},
		Flow:                 flow,
		DurationMilliseconds: int64(cmp.Or(t.Spec.DurationSeconds, v1alpha1.DefaultTraceSeconds)) * 1000,
		MaxFlows:             int(cmp.Or(t.Spec.MaxFlows, 1)),
	}
	for _, ip := range on.pod.Status.PodIPs {
		r.PodIPs = append(r.PodIPs, ip.IP)
	}
	if err := r.WithDefaults().Validate(); err != nil {
		return r, &obstacle{reason: v1alpha1.ReasonInvalidSpec, message: err.Error(), final: true}
	}
	return r, nil
}

func protocol(name string) flowio.Protocol { return flowio.Protocol(strings.ToLower(name)) }

// port converts a port, which the API server has checked.
func port(n int32) uint16 { return uint16(n) } //nolint:gosec // At most 65535.
