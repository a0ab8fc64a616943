// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	securityv1beta1 "istio.io/api/security/v1beta1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

// authenticated is a guest that requires tokens and limits its clients.
func authenticated() *b.MVMBuilder {
	return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.HTTP("admin", 9000, 0), b.TCP("db", 5432)).
		Allow(v1alpha1.AllowedClient{Namespace: "shop"}).
		Authentication("", &securityv1beta1.JWTRule{
			Issuer: "https://accounts.example.com", Jwks: keys("1"), Audiences: []string{"web"},
			FromHeaders: []*securityv1beta1.JWTHeader{{Name: "x-token", Prefix: "Bearer "}}, ForwardOriginalToken: true,
		}, &securityv1beta1.JWTRule{Issuer: "tests@example.com", Jwks: keys("1")}, &securityv1beta1.JWTRule{Issuer: "tests@example.com", Jwks: keys("2")})
}

// optional validates the tokens of requests to a guest, and requires none.
func optional(guest *b.MVMBuilder) *b.MVMBuilder {
	return guest.Authentication(v1alpha1.AuthenticationModeOptional, &securityv1beta1.JWTRule{Issuer: "https://accounts.example.com", Jwks: keys("1")})
}

// keys is a JSON Web Key Set with a public key of RFC 7517, appendix A.1.
func keys(id string) string {
	return `{"keys":[{"kty":"EC","crv":"P-256","kid":"` + id + `","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`
}
