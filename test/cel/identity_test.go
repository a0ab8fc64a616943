// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"strings"
	"testing"
)

// identity is mesh.identity with a service account.
func identity(account any) map[string]any {
	return map[string]any{"spec.mesh.identity": map[string]any{"serviceAccountName": account}}
}

// identityCases are changes of meshedVirtualMachine in spec.mesh.identity.
var identityCases = map[string]testCase{
	"a service account":                     {set: identity("db")},
	"a service account with dots":           {set: identity("db.v1")},
	"a long service account":                {set: identity(strings.Repeat("a", 253))},
	"a service account of a namespace":      {set: identity("other/db"), want: []string{"spec.mesh.identity.serviceAccountName", "should match"}},
	"a service account by identity":         {set: identity("spiffe://cluster.local/ns/other/sa/db"), want: []string{"spec.mesh.identity.serviceAccountName", "should match"}},
	"a service account in upper case":       {set: identity("Db"), want: []string{"spec.mesh.identity.serviceAccountName", "should match"}},
	"an empty service account":              {set: identity(""), want: []string{"spec.mesh.identity.serviceAccountName", "at least 1 chars"}},
	"a service account that is too long":    {set: identity(strings.Repeat("a", 254)), want: []string{"spec.mesh.identity.serviceAccountName: Too long"}},
	"an identity without a service account": {set: map[string]any{"spec.mesh.identity": map[string]any{}}},
	"an identity with a namespace":          {set: map[string]any{"spec.mesh.identity": map[string]any{"serviceAccountName": "db", "namespace": "other"}}, want: []string{`unknown field "spec.mesh.identity.namespace"`}},
}

func TestIdentity(t *testing.T) { run(t, meshedVirtualMachine, identityCases) }
