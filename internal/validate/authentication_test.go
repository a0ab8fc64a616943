// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestAuthentication checks the rules of tokens.
func TestAuthentication(t *testing.T) {
	const (
		issuer = "https://accounts.example.com"
		path   = "InvalidSpec spec.mesh.authentication"
		first  = path + ".jwtRules[0]"
		keys   = `{"keys": [{"kty": "oct", "k": "AQ"}]}`
	)
	type rule = securityv1beta1.JWTRule
	guest := func(rules ...*rule) *b.MVMBuilder { return b.MVM("web").Authentication("", rules...) }
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"keys at the issuer":               {guest(&rule{Issuer: issuer}), nil},
		"keys at a URL":                    {guest(&rule{Issuer: "tests@example.com", JwksUri: issuer + "/keys"}), nil},
		"keys":                             {guest(&rule{Issuer: "tests@example.com", Jwks: keys}), nil},
		"optional":                         {b.MVM("web").Authentication(v1alpha1.AuthenticationModeOptional, &rule{Issuer: issuer}), nil},
		"another mode":                     {b.MVM("web").Authentication("Always", &rule{Issuer: issuer}), []string{path + ".mode"}},
		"no rules":                         {b.MVM("web").Authentication(v1alpha1.AuthenticationModeOptional), []string{path + ".jwtRules"}},
		"17 rules":                         {guest(slices.Repeat([]*rule{{Issuer: issuer}}, 17)...), []string{path + ".jwtRules"}},
		"a null rule":                      {guest(nil), []string{first}},
		"any issuer":                       {guest(&rule{JwksUri: issuer}), []string{first + ".issuer"}},
		"keys at a URL without TLS":        {guest(&rule{Issuer: issuer, JwksUri: "http://accounts.example.com/keys"}), []string{first + ".jwksUri"}},
		"keys in a file":                   {guest(&rule{Issuer: issuer, JwksUri: "file:///etc/passwd"}), []string{first + ".jwksUri"}},
		"keys at a URL with a password":    {guest(&rule{Issuer: issuer, JwksUri: "https://user:password@accounts.example.com"}), []string{first + ".jwksUri"}},
		"keys at an issuer without TLS":    {guest(&rule{Issuer: "http://169.254.169.254/latest"}), []string{first + ".issuer"}},
		"keys at an issuer that is no URL": {guest(&rule{Issuer: "tests@example.com"}), []string{first + ".issuer"}},
		"two sources of keys":              {guest(&rule{Issuer: issuer, JwksUri: issuer, Jwks: "{}"}), []string{first}},
		"no keys":                          {guest(&rule{Issuer: issuer, Jwks: `{"keys": []}`}), []string{first + ".jwks"}},
		"keys without a type":              {guest(&rule{Issuer: issuer, Jwks: `{"keys": [{}]}`}), []string{first + ".jwks"}},
		"one key instead of a set":         {guest(&rule{Issuer: issuer, Jwks: `{"kty": "oct", "k": "AQ"}`}), []string{first + ".jwks"}},
		"a wildcard":                       {guest(&rule{Issuer: "*", Jwks: keys}), []string{first + ".issuer"}},
		"keys that are not JSON":           {guest(&rule{Issuer: issuer, Jwks: "{"}), []string{first + ".jwks"}},
		"ambient":                          {guest(&rule{Issuer: issuer}).DataPlane(v1alpha1.DataPlaneAmbient), []string{"WaypointRequired spec.mesh.authentication"}},
		"no HTTP port":                     {guest(&rule{Issuer: issuer}).Ports(b.TCP("db", 5432)), []string{path}},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}
