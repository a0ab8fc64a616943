// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// issuer is the issuer of the tokens. It is no URL, so istiod contacts no server.
const issuer = "tests@meshvm.io"

// signer signs JSON Web Tokens (RFC 7519) with ES256 (RFC 7518, section 3.4).
type signer struct{ *ecdsa.PrivateKey }

func newSigner(t *suite.T) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t.NoError(err)
	return signer{key}
}

// keySet returns the public key as a JSON Web Key Set (RFC 7517).
func (s signer) keySet(t *suite.T) string {
	point, err := s.PublicKey.Bytes() // 4, X, Y
	t.NoError(err)
	size := (len(point) - 1) / 2
	key := map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "x": encode(point[1 : 1+size]), "y": encode(point[1+size:])}
	text, err := json.Marshal(map[string]any{"keys": []any{key}})
	t.NoError(err)
	return string(text)
}

// token returns the header of a request with a token that expires after a time.
func (s signer) token(t *suite.T, issuer string, expires time.Duration) string {
	claims, err := json.Marshal(map[string]any{"iss": issuer, "sub": "tests", "exp": time.Now().Add(expires).Unix()})
	t.NoError(err)
	signed := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	a, b, err := ecdsa.Sign(rand.Reader, s.PrivateKey, sum[:])
	t.NoError(err)
	signature := make([]byte, 64)
	a.FillBytes(signature[:32])
	b.FillBytes(signature[32:])
	return "Authorization: Bearer " + signed + "." + encode(signature)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token requires a token in requests to a running machine, makes it optional, and
// removes the field. The guest's proxy must deny requests without a token and with an
// invalid one as documented, and not affect connections to a TCP port.
func token(t *suite.T) {
	ms := t.Machines("token", suite.Machine{Name: "one"})
	ctx := t.Limit(6 * time.Minute)
	key := newSigner(t)
	edit := func(authentication any) {
		var mesh any // An empty object is not valid.
		if authentication != nil {
			mesh = map[string]any{"authentication": authentication}
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"mesh": mesh}})
		t.NoError(err)
		t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), client.RawPatch(types.MergePatchType, patch)))
	}
	responds := func(what, code string, headers ...string) {
		t.Await(ctx, fmt.Sprintf("status %s of a request with %s", code, what), func() bool {
			out, err := ms.From(ctx, ms.Clients.Inside, append([]string{"status", "http://one/"}, headers...)...)
			return err == nil && strings.HasPrefix(out, code+" ")
		})
	}
	const hour = time.Hour
	valid, expired := key.token(t, issuer, hour), key.token(t, issuer, -hour)
	unknown, forged := key.token(t, "another@meshvm.io", hour), newSigner(t).token(t, issuer, hour)
	responds("an expired token, without the field", "200", expired)
	pod := ms.Pods["one"]

	edit(map[string]any{"jwtRules": []any{map[string]any{"issuer": issuer, "jwks": key.keySet(t)}}})
	responds("no token", "403")
	responds("a valid token", "200", valid)
	responds("an expired token", "401", expired)
	responds("a token of another issuer", "401", unknown)
	responds("a token signed by another key", "401", forged)
	if out, err := ms.From(ctx, ms.Clients.Inside, "tcp", "one:9100", "hello"); err != nil || !strings.Contains(out, "hello") {
		t.Errorf("connection to a TCP port: %q, %v", out, err)
	}

	edit(map[string]any{"mode": "Optional"})
	responds("no token, which is optional", "200")
	responds("an expired token, which is optional", "401", expired)

	edit(nil)
	responds("an expired token, after the field was removed", "200", expired)
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("security.istio.io/v1")
	object.SetKind("RequestAuthentication")
	t.Await(ctx, "the RequestAuthentication to be deleted", func() bool {
		return apierrors.IsNotFound(ms.Get(ctx, ms.Key("one"), object))
	})
	ms.AwaitReady(ctx, t, "one")
	if ms.Pods["one"].UID != pod.UID {
		t.Errorf("the pod was replaced")
	}
}
