// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxJWTRules is the limit of rules in the CRD (hack/tools/crdgen).
const maxJWTRules = 16

// authentication rejects rules that Istio rejects, keys without TLS, and tokens for
// guests whose proxy does not see requests.
func (e *Errors) authentication(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	a := mvm.Spec.Mesh.Authentication
	switch {
	case !a.IsSet():
		return
	case ztunnelAlone(mvm):
		e.Reject(v1alpha1.ReasonWaypointRequired, path, "requires a waypoint in ambient mode, because ztunnel does not process HTTP requests and their tokens: set mesh.waypoint, set mesh.dataPlane to Sidecar, or remove authentication")
		return
	case !slices.ContainsFunc(mvm.Spec.Ports, v1alpha1.Port.IsMeshedHTTP):
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "applies only to HTTP ports via Mesh, and the guest has none: remove authentication, or set appProtocol of a port to an HTTP protocol")
	}
	if m := a.ModeOrDefault(); m != v1alpha1.AuthenticationModeRequired && m != v1alpha1.AuthenticationModeOptional {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("mode"), "invalid mode %q: must be Required or Optional", m)
	}
	rules := path.Child("jwtRules")
	if n := len(a.JWTRules); n == 0 || n > maxJWTRules {
		e.Reject(v1alpha1.ReasonInvalidSpec, rules, "must have 1 to %d entries: add one, or remove authentication", maxJWTRules)
	}
	for i, r := range a.JWTRules {
		e.jwtRule(r, rules.Index(i))
	}
}

func (e *Errors) jwtRule(r *securityv1beta1.JWTRule, path *field.Path) {
	switch {
	case r == nil:
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must not be null: remove the entry")
	case r.GetIssuer() == "":
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("issuer"), "is required, because without it tokens of every issuer with these keys are accepted: set the iss claim of the tokens")
	case strings.HasPrefix(r.GetIssuer(), "*"):
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("issuer"), "must not start with *, because Istio does not support wildcards in issuers: set the iss claim of the tokens")
	case r.GetJwks() != "" && r.GetJwksUri() != "":
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must not set both jwks and jwksUri: remove one")
	case r.GetJwks() != "" && !isKeySet(r.GetJwks()):
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("jwks"), "must be a JSON Web Key Set with at least one key, {\"keys\": [...]}: correct it")
	case r.GetJwksUri() != "" && !isHTTPS(r.GetJwksUri()):
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("jwksUri"), "must be an https URL, because istiod fetches the keys of the tokens from it: use https, or set jwks instead")
	case r.GetJwks() == "" && r.GetJwksUri() == "" && !isHTTPS(r.GetIssuer()):
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("issuer"), "must be an https URL if neither jwksUri nor jwks is set, because istiod reads the location of the keys from the issuer: set jwksUri or jwks")
	}
}

func isHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil
}

// isKeySet reports whether a text is a JSON Web Key Set (RFC 7517, section 5).
func isKeySet(text string) bool {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	return json.Unmarshal([]byte(text), &set) == nil && len(set.Keys) > 0 && !slices.ContainsFunc(set.Keys, func(k map[string]any) bool { return k["kty"] == nil })
}
