// SPDX-License-Identifier: Apache-2.0

package patches

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"meshvm.io/meshvm/api/v1alpha1"
)

// limits are the limits of the patches of an object.
type limits struct{ kind, namespace, domain string }

// locked are the fields of specs that a patch cannot change.
var locked = map[string][]string{
	"Service":            {"selector", "ports", "type", "externalIPs", "externalName", "clusterIP", "clusterIPs"},
	"VirtualService":     {"hosts", "gateways", "exportTo"},
	"DestinationRule":    {"host", "exportTo", "workloadSelector"},
	"PeerAuthentication": {"selector"},
}

// violation returns the path of the first field of a patched object that violates a limit,
// and the problem, empty for none.
func violation(before, after map[string]any, l limits) (path, problem string) {
	const only = "a patch can change only spec and the labels and annotations of metadata: remove this part"
	if name := changed(before, after, "spec", "metadata"); name != "" {
		return "/" + name, only
	}
	old, now := child(before, "metadata"), child(after, "metadata")
	if name := changed(old, now, "labels", "annotations"); name != "" {
		return "/metadata/" + name, only
	}
	for _, list := range []string{"labels", "annotations"} {
		if path, problem := metadata(old[list], now[list], list); problem != "" {
			return path, problem
		}
	}
	spec, isObject := after["spec"].(map[string]any)
	if !isObject {
		return "/spec", "must be an object: correct the patch"
	}
	declared := child(before, "spec")
	for _, name := range locked[l.kind] {
		if !equality.Semantic.DeepEqual(declared[name], spec[name]) {
			return "/spec/" + name, "a patch cannot change this field: remove this part, and use the fields of the spec"
		}
	}
	switch l.kind {
	case "VirtualService":
		return l.routes("/spec", "", spec)
	case "DestinationRule":
		return destinationRule(declared, spec)
	case "PeerAuthentication":
		return peerAuthentication(declared, spec)
	}
	return "", ""
}

// changed returns the first field, other than the given ones, that differs.
func changed(a, b map[string]any, except ...string) string {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(except, name) && !equality.Semantic.DeepEqual(a[name], b[name]) {
			return name
		}
	}
	return ""
}

func child(o map[string]any, name string) map[string]any {
	m, _ := o[name].(map[string]any)
	return m
}

// metadata checks labels or annotations. Those of the operator and of Istio decide to what
// the object belongs and who uses it.
func metadata(before, after any, list string) (path, problem string) {
	old, _ := before.(map[string]any)
	now, isObject := after.(map[string]any)
	if after != nil && !isObject {
		return "/metadata/" + list, "must be an object: correct the patch"
	}
	for _, all := range []map[string]any{old, now} {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if owner, _, _ := strings.Cut(key, "/"); key != v1alpha1.LabelManagedBy && !within(owner, "meshvm.io") && !within(owner, "istio.io") {
				continue
			}
			if old[key] != now[key] {
				return "/metadata/" + list + "/" + strings.ReplaceAll(key, "/", "~1"), "a patch cannot change labels and annotations of the operator and of Istio: remove this part"
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if _, isText := now[key].(string); !isText {
			return "/metadata/" + list + "/" + strings.ReplaceAll(key, "/", "~1"), "must be a text: correct the patch"
		}
	}
	return "", ""
}

func within(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// routes checks the routes of a VirtualService below a node.
func (l limits) routes(path, name string, node any) (where, problem string) {
	switch n := node.(type) {
	case map[string]any:
		if name == "destination" || name == "mirror" {
			if host, _ := n["host"].(string); !l.isOwn(host) {
				return path + "/host", fmt.Sprintf("%q is not a Service of namespace %s: use the name of a Service as NAME.%s.svc.%s", host, l.namespace, l.namespace, l.domain)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(n)) {
			at := path + "/" + strings.ReplaceAll(key, "/", "~1")
			switch {
			case key == "delegate" && n[key] != nil:
				return at, "the routes of another VirtualService are not validated: remove delegate"
			case key == "gateways" && path != "/spec" && n[key] != nil:
				return at, "the routes of a patch apply only to clients in the mesh: use mesh.routes for gateways"
			}
			if where, problem := l.routes(at, key, n[key]); problem != "" {
				return where, problem
			}
		}
	case []any:
		for i, item := range n {
			if where, problem := l.routes(path+"/"+strconv.Itoa(i), name, item); problem != "" {
				return where, problem
			}
		}
	}
	return "", ""
}

// isOwn reports whether a host is a Service of the own namespace.
func (l limits) isOwn(host string) bool {
	name, rest, qualified := strings.Cut(host, ".")
	return name != "" && !strings.ContainsAny(name, "*/:") && (!qualified || rest == l.namespace+".svc."+l.domain)
}

// destinationRule checks subsets, tunnels and TLS settings.
func destinationRule(before, after map[string]any) (path, problem string) {
	if !equality.Semantic.DeepEqual(subsets(before), subsets(after)) {
		return "/spec/subsets", "a patch cannot change names and labels of subsets, which follow the pods: change only their trafficPolicy"
	}
	declared := map[string]any{}
	settings("/spec", before, declared)
	found := map[string]any{}
	settings("/spec", after, found)
	for _, path := range slices.Sorted(maps.Keys(found)) {
		t, _ := found[path].(map[string]any)
		if strings.HasSuffix(path, "/tls") && len(t) == 1 && t["mode"] == "ISTIO_MUTUAL" || equality.Semantic.DeepEqual(declared[path], found[path]) {
			continue
		}
		if strings.HasSuffix(path, "/tunnel") {
			return path, "a tunnel leads to a host that is not validated: remove it"
		}
		return path, "a patch cannot make mutual TLS weaker: remove it, set mode ISTIO_MUTUAL, or use mesh.trafficPolicy"
	}
	return "", ""
}

// settings collects the TLS settings and tunnels of traffic policies by their paths.
func settings(path string, node any, out map[string]any) {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			if at := path + "/" + key; value != nil && (key == "tls" || key == "tunnel") {
				out[at] = value
			} else {
				settings(at, value, out)
			}
		}
	case []any:
		for i, item := range n {
			settings(path+"/"+strconv.Itoa(i), item, out)
		}
	}
}

// subsets returns the names and labels of subsets.
func subsets(spec map[string]any) []any {
	list, _ := spec["subsets"].([]any)
	out := make([]any, 0, len(list))
	for _, s := range list {
		m, _ := s.(map[string]any)
		out = append(out, []any{m["name"], m["labels"]})
	}
	return out
}

// strength orders the modes of mutual TLS. A missing mode is inherited from policies that
// the operator did not create.
var strength = map[any]int{"STRICT": 3, "PERMISSIVE": 2, "DISABLE": 1}

// peerAuthentication checks that no port has a weaker mode.
func peerAuthentication(before, after map[string]any) (path, problem string) {
	const weaker = "a patch cannot make mutual TLS weaker: remove this part, or set mesh.mtls.mode or mtls of the port"
	all, now := child(before, "mtls")["mode"], child(after, "mtls")["mode"]
	if strength[now] < strength[all] {
		return "/spec/mtls/mode", weaker
	}
	ports := map[string]bool{}
	old, changed := child(before, "portLevelMtls"), child(after, "portLevelMtls")
	for _, list := range []map[string]any{old, changed} {
		for port := range list {
			ports[port] = true
		}
	}
	mode := func(list map[string]any, port string, otherwise any) any {
		if _, set := list[port]; set {
			return child(list, port)["mode"]
		}
		return otherwise
	}
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if strength[mode(changed, port, now)] < strength[mode(old, port, all)] {
			return "/spec/portLevelMtls/" + port, weaker
		}
	}
	return "", ""
}
