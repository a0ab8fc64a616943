// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"errors"
	"regexp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// MaxNameLength is the longest name of a virtual machine with which live
// migration works.
const MaxNameLength = 47

var nameShape = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// checker collects refusals.
type checker struct{ errs []error }

func (c *checker) add(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

func (c *checker) refuse(reason v1alpha1.ConditionReason, path *field.Path, format string, args ...any) {
	c.errs = append(c.errs, invalidf(reason, path.String(), format, args...))
}

// CheckSpec refuses specs that cannot be carried out. It reports all that CEL
// cannot report, and again what CEL reports, for objects that are older than the
// rule. The error joins one *Invalid for each fault.
func CheckSpec(mvm *v1alpha1.MeshedVirtualMachine) error {
	c := &checker{}
	if mvm == nil {
		c.refuse(v1alpha1.ReasonInvalidSpec, nil, "there is no MeshedVirtualMachine")
		return errors.Join(c.errs...)
	}
	spec := field.NewPath("spec")
	c.name(mvm.Name)
	c.virtualMachine(mvm, spec.Child("virtualMachine"))
	c.ports(mvm.Spec.Ports, spec.Child("ports"))
	c.dataPlane(mvm, spec.Child("mesh"))
	c.mtls(mvm, spec.Child("mesh", "mtls"))
	c.traffic(mvm, spec.Child("mesh", "traffic"))
	c.capture(mvm, spec.Child("capture"))
	return errors.Join(c.errs...)
}

func (c *checker) name(name string) {
	path := field.NewPath("metadata", "name")
	if len(name) > MaxNameLength {
		c.refuse(v1alpha1.ReasonNameTooLong, path,
			"at most %d characters, because live migration of the virtual machine fails past that: choose a shorter name", MaxNameLength)
		return
	}
	if !nameShape.MatchString(name) {
		c.refuse(v1alpha1.ReasonInvalidSpec, path, "must be a DNS label that starts with a letter, because it also names the Service")
	}
}

func (c *checker) ports(ports []v1alpha1.Port, path *field.Path) {
	names := map[string]bool{}
	type key struct {
		protocol v1alpha1.PortProtocol
		number   int32
	}
	published, targets := map[key]bool{}, map[key]bool{}
	if len(ports) == 0 {
		c.refuse(v1alpha1.ReasonInvalidPort, path, "name at least one port of the guest")
	}
	for i, p := range ports {
		at := path.Index(i)
		c.port(p, at)
		if names[p.Name] {
			c.refuse(v1alpha1.ReasonInvalidPort, at.Child("name"), "two ports are named %q: give each its own name", p.Name)
		}
		names[p.Name] = true
		if k := (key{p.ProtocolOrDefault(), p.Port}); published[k] {
			c.refuse(v1alpha1.ReasonInvalidPort, at.Child("port"), "two ports share %s port %d: give each its own port", k.protocol, k.number)
		} else {
			published[k] = true
		}
		if k := (key{p.ProtocolOrDefault(), p.TargetPortOrDefault()}); targets[k] {
			c.refuse(v1alpha1.ReasonInvalidPort, targetPath(p, at), "two ports share the guest's %s port %d: expose a guest port once", k.protocol, k.number)
		} else {
			targets[k] = true
		}
	}
}

// targetPath is the field that reports on which port the guest listens.
func targetPath(p v1alpha1.Port, path *field.Path) *field.Path {
	if p.TargetPort != 0 {
		return path.Child("targetPort")
	}
	return path.Child("port")
}

func (c *checker) port(p v1alpha1.Port, path *field.Path) {
	if p.Name == "" {
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("name"), "give the port a name")
	}
	if p.Port < 1 || p.Port > maxPort {
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("port"), "%d is no port: choose one from 1 to %d", p.Port, maxPort)
	}
	if p.TargetPort < 0 || p.TargetPort > maxPort {
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("targetPort"), "%d is no port: choose one from 1 to %d", p.TargetPort, maxPort)
	}
	switch p.ProtocolOrDefault() {
	case v1alpha1.PortProtocolTCP:
		if isReserved(p.TargetPortOrDefault()) {
			c.refuse(v1alpha1.ReasonReservedPort, targetPath(p, path), "%s", reservedMessage(p.TargetPortOrDefault()))
		}
	case v1alpha1.PortProtocolUDP:
		if p.RouteOrDefault() == v1alpha1.PortRouteMesh {
			c.refuse(v1alpha1.ReasonInvalidPort, path.Child("route"), "the mesh cannot carry UDP: leave this field out or set it to Direct")
		}
		if p.AppProtocol != "" {
			c.refuse(v1alpha1.ReasonInvalidPort, path.Child("appProtocol"), "it chooses how the mesh treats TCP: leave it out for UDP")
		}
	default:
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("protocol"), "%q is neither TCP nor UDP", p.Protocol)
	}
	if r := p.RouteOrDefault(); r != v1alpha1.PortRouteMesh && r != v1alpha1.PortRouteDirect {
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("route"), "%q is neither Mesh nor Direct", p.Route)
	}
}

func (c *checker) mtls(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	seen := map[string]bool{}
	for i, m := range mvm.Spec.Mesh.MTLS.Ports {
		at := path.Child("ports").Index(i).Child("name")
		p := slices.IndexFunc(mvm.Spec.Ports, func(p v1alpha1.Port) bool { return p.Name == m.Name })
		switch {
		case seen[m.Name]:
			c.refuse(v1alpha1.ReasonInvalidPort, at, "port %q is listed twice: keep one entry", m.Name)
		case p < 0:
			c.refuse(v1alpha1.ReasonInvalidPort, at, "no entry of spec.ports is named %q: correct the name or remove the entry", m.Name)
		case mvm.Spec.Ports[p].RouteOrDefault() == v1alpha1.PortRouteDirect:
			c.refuse(v1alpha1.ReasonInvalidPort, at,
				"port %q bypasses the proxy, so that no mutual TLS mode applies to it: remove the entry or set the port's route to Mesh", m.Name)
		}
		seen[m.Name] = true
	}
}

func (c *checker) traffic(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	t := mvm.Spec.Mesh.Traffic
	if t.Timeout != "" {
		// Istio refuses shorter and finer durations (pkg/config/validation/agent).
		d, err := time.ParseDuration(t.Timeout)
		if err != nil || d < time.Millisecond || d%time.Millisecond != 0 {
			c.refuse(v1alpha1.ReasonInvalidSpec, path.Child("timeout"),
				"must be a duration of at least one millisecond, for example 5s; leave it out for no bound")
		}
	}
	if (t.Timeout != "" || t.Retries != nil) && !slices.ContainsFunc(mvm.Spec.Ports, v1alpha1.Port.IsMeshedHTTP) {
		c.refuse(v1alpha1.ReasonInvalidSpec, path,
			"timeout and retries shape HTTP requests, but no port takes HTTP through the mesh: set appProtocol: http on one, or remove them")
	}
}
