// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const connectionTrace = `
apiVersion: meshvm.io/v1alpha1
kind: ConnectionTrace
metadata:
  name: web
spec:
  meshedVirtualMachine: web
  flow: {from: Outside, protocol: TCP, source: 10.0.0.1, sourcePort: 40000, destination: 10.244.0.8, destinationPort: 8080}
  durationSeconds: 30
  maxFlows: 2
  ttlSecondsAfterFinished: 60
`

const (
	namedPort      = "port selects connections from outside to a port of the MeshedVirtualMachine: omit protocol, destinationPort and from, or omit port"
	noICMPPorts    = "ICMP has no ports: omit sourcePort and destinationPort, or set protocol to TCP or UDP"
	oneFamily      = "source and destination must be of the same address family"
	immutableTrace = "spec is immutable: create another ConnectionTrace"
)

var connectionTraceCases = map[string]testCase{
	"the base object":                  {},
	"only a machine":                   {set: map[string]any{"spec": map[string]any{"meshedVirtualMachine": "web"}}},
	"no spec":                          {set: map[string]any{"spec": removed}, want: []string{"spec: Required value"}},
	"no machine":                       {set: map[string]any{"spec.meshedVirtualMachine": removed}, want: []string{"spec.meshedVirtualMachine: Required value"}},
	"a machine of another namespace":   {set: map[string]any{"spec.namespace": "other"}, want: []string{`unknown field "spec.namespace"`}},
	"a pod":                            {set: map[string]any{"spec.pod": map[string]any{"name": "x"}}, want: []string{`unknown field "spec.pod"`}},
	"a node":                           {set: map[string]any{"spec.node": "node-a"}, want: []string{`unknown field "spec.node"`}},
	"an image":                         {set: map[string]any{"spec.image": "x"}, want: []string{`unknown field "spec.image"`}},
	"a network namespace":              {set: map[string]any{"spec.netns": "/proc/1/ns/net"}, want: []string{`unknown field "spec.netns"`}},
	"role":                             {set: map[string]any{"spec.role": "MigrationTarget"}},
	"unknown role":                     {set: map[string]any{"spec.role": "Host"}, want: []string{"spec.role: Unsupported value"}},
	"named port":                       {set: map[string]any{"spec.flow": map[string]any{"port": "http"}}},
	"named port from outside":          {set: map[string]any{"spec.flow": map[string]any{"port": "http", "from": "Outside", "source": "10.0.0.1"}}},
	"named port from the guest":        {set: map[string]any{"spec.flow": map[string]any{"port": "http", "from": "Guest"}}, want: []string{namedPort}},
	"named port with a protocol":       {set: map[string]any{"spec.flow": map[string]any{"port": "http", "protocol": "TCP"}}, want: []string{namedPort}},
	"named port with a number":         {set: map[string]any{"spec.flow": map[string]any{"port": "http", "destinationPort": int64(80)}}, want: []string{namedPort}},
	"unknown origin":                   {set: map[string]any{"spec.flow.from": "moon"}, want: []string{"spec.flow.from: Unsupported value"}},
	"unknown protocol":                 {set: map[string]any{"spec.flow.protocol": "SCTP"}, want: []string{"spec.flow.protocol: Unsupported value"}},
	"ICMP":                             {set: map[string]any{"spec.flow": map[string]any{"protocol": "ICMP"}}},
	"ICMP with a port":                 {set: map[string]any{"spec.flow": map[string]any{"protocol": "ICMPv6", "destinationPort": int64(1)}}, want: []string{noICMPPorts}},
	"source is a name":                 {set: map[string]any{"spec.flow.source": "client"}, want: []string{"spec.flow.source", address}},
	"destination is a network":         {set: map[string]any{"spec.flow.destination": "10.0.0.0/8"}, want: []string{"spec.flow.destination", address}},
	"addresses of two families":        {set: map[string]any{"spec.flow.source": "fd00::1"}, want: []string{oneFamily}},
	"IPv6":                             {set: map[string]any{"spec.flow.source": "fd00::1", "spec.flow.destination": "fd00::2"}},
	"port 0":                           {set: map[string]any{"spec.flow.destinationPort": int64(0)}, want: []string{"spec.flow.destinationPort"}},
	"port 65536":                       {set: map[string]any{"spec.flow.sourcePort": int64(65536)}, want: []string{"spec.flow.sourcePort"}},
	"the longest duration":             {set: map[string]any{"spec.durationSeconds": int64(300)}},
	"a longer duration":                {set: map[string]any{"spec.durationSeconds": int64(301)}, want: []string{"spec.durationSeconds", "300"}},
	"no end":                           {set: map[string]any{"spec.durationSeconds": int64(0)}, want: []string{"spec.durationSeconds"}},
	"negative duration":                {set: map[string]any{"spec.durationSeconds": int64(-1)}, want: []string{"spec.durationSeconds"}},
	"too many connections":             {set: map[string]any{"spec.maxFlows": int64(9)}, want: []string{"spec.maxFlows", "8"}},
	"an object that is kept for a day": {set: map[string]any{"spec.ttlSecondsAfterFinished": int64(86400)}, want: []string{"spec.ttlSecondsAfterFinished", "3600"}},
}

func TestConnectionTrace(t *testing.T) { run(t, connectionTrace, connectionTraceCases) }

// immutableTraceCases change an existing object.
var immutableTraceCases = map[string]testCase{
	"another machine":    {set: map[string]any{"spec.meshedVirtualMachine": "db"}, want: []string{immutableTrace}},
	"another connection": {set: map[string]any{"spec.flow.destinationPort": int64(22)}, want: []string{immutableTrace}},
	"no flow":            {set: map[string]any{"spec.flow": removed}, want: []string{immutableTrace}},
	"another duration":   {set: map[string]any{"spec.durationSeconds": int64(300)}, want: []string{immutableTrace}},
	"a label":            {set: map[string]any{"metadata.labels": map[string]any{"a": "b"}}},
}

func TestImmutableTrace(t *testing.T) {
	env := shared.Get(t)
	base := object(t, connectionTrace, map[string]any{"metadata.name": "immutable"})
	if err := env.Client.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for name, tc := range immutableTraceCases {
		t.Run(name, func(t *testing.T) {
			changed := &unstructured.Unstructured{Object: apply(t, base.DeepCopy().Object, tc.set)}
			check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), tc.want)
		})
	}
}
