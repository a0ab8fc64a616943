// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import securityv1beta1 "istio.io/api/security/v1beta1"

// AuthenticationMode specifies whether requests need a token.
//
// +kubebuilder:validation:Enum=Required;Optional
type AuthenticationMode string

const (
	// AuthenticationModeRequired denies requests without a token of the issuers.
	AuthenticationModeRequired AuthenticationMode = "Required"
	// AuthenticationModeOptional accepts requests without a token and denies
	// requests with an invalid one.
	AuthenticationModeOptional AuthenticationMode = "Optional"
)

// AuthenticationSpec configures JSON Web Tokens (JWT) of requests to the HTTP ports
// of the guest.
//
// +kubebuilder:validation:XValidation:rule="self.jwtRules.all(r, !has(r.jwks_uri) && (!has(r.jwksUri) || r.jwksUri.startsWith('https://')))",message="mesh.authentication.jwtRules[].jwksUri must start with https://, because istiod fetches the keys of the tokens from it: use https, set jwks instead, or write jwksUri instead of jwks_uri"
// +kubebuilder:validation:XValidation:rule="self.jwtRules.all(r, has(r.issuer))",message="mesh.authentication.jwtRules[].issuer is required, because without it tokens of every issuer with these keys are accepted: set the iss claim of the tokens"
type AuthenticationSpec struct {
	// jwtRules are Istio's JWTRules, with at most 16 entries. A request with a
	// token that is expired, has an invalid signature or another issuer is denied
	// with status 401. jwksUri must be an https URL. issuer must also be an https
	// URL if neither jwks nor jwksUri is set, because istiod then reads the
	// location of the keys from the issuer (OpenID Connect Discovery).
	//
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	JWTRules JWTRules `json:"jwtRules,omitempty"`

	// mode specifies whether requests need a token. Required denies requests to
	// the HTTP ports with status 403 if they have no token of an issuer in
	// jwtRules with a subject (claim sub). It applies in addition to allow and
	// authorization. Other ports are not affected, because tokens are part of
	// HTTP requests. Optional accepts requests without a token. Defaults to
	// Required.
	//
	// +optional
	// +default="Required"
	Mode AuthenticationMode `json:"mode,omitempty"`
}

// IsSet reports whether the spec configures tokens.
func (a AuthenticationSpec) IsSet() bool { return a.Mode != "" || len(a.JWTRules) > 0 }

// ModeOrDefault returns the mode. Defaults to Required.
func (a AuthenticationSpec) ModeOrDefault() AuthenticationMode {
	if a.Mode == "" {
		return AuthenticationModeRequired
	}
	return a.Mode
}

// JWTRules are rules of an Istio RequestAuthentication.
//
// +kubebuilder:object:generate=false
type JWTRules []*securityv1beta1.JWTRule

// DeepCopyInto copies the rules. controller-gen cannot copy a list of pointers to
// messages.
func (in *JWTRules) DeepCopyInto(out *JWTRules) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the rules.
func (in *JWTRules) DeepCopy() JWTRules { return copies(*in) }
