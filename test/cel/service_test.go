// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var serviceCases = map[string]testCase{
	"member of a shared Service":     {set: map[string]any{"spec.service": map[string]any{"name": "shop", "trafficPercent": int64(0), "whenUnready": "Keep"}}},
	"name of the Service is invalid": {set: map[string]any{"spec.service": map[string]any{"name": "Shop"}}, want: []string{"spec.service.name"}},
	"name of the Service: too long":  {set: map[string]any{"spec.service": map[string]any{"name": strings.Repeat("a", 48)}}, want: []string{"spec.service.name: Too long"}},
	"more than 100 percent":          {set: map[string]any{"spec.service": map[string]any{"trafficPercent": int64(101)}}, want: []string{"spec.service.trafficPercent"}},
	"less than 0 percent":            {set: map[string]any{"spec.service": map[string]any{"trafficPercent": int64(-1)}}, want: []string{"spec.service.trafficPercent"}},
	"unknown value of whenUnready":   {set: map[string]any{"spec.service": map[string]any{"whenUnready": "Drop"}}, want: []string{"spec.service.whenUnready"}},
	"percentage of a headless Service": {
		set: map[string]any{
			"spec.service": map[string]any{"type": "Headless", "trafficPercent": int64(10)}, "spec.ports.0.targetPort": int64(80),
		},
		want: []string{"trafficPercent has no effect on a headless Service, whose clients choose a pod by DNS: omit it, or set another type"},
	},
}

func TestSharedService(t *testing.T) { run(t, meshedVirtualMachine, serviceCases) }

const serviceName = "service.name is immutable: create another MeshedVirtualMachine to use another Service"

var serviceNameCases = map[string]testCase{
	"another":  {set: map[string]any{"spec.service": map[string]any{"name": "shop"}}, want: []string{serviceName}},
	"explicit": {set: map[string]any{"spec.service": map[string]any{"name": "service-name"}}},
	"other":    {set: map[string]any{"spec.service": map[string]any{"trafficPercent": int64(10)}}},
}

// TestServiceName changes the name of the Service of an existing object that has its own
// name.
func TestServiceName(t *testing.T) {
	env := shared.Get(t)
	base := object(t, meshedVirtualMachine, map[string]any{"metadata.name": "service-name"})
	if err := env.Client.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for name, tc := range serviceNameCases {
		t.Run(name, func(t *testing.T) {
			changed := &unstructured.Unstructured{Object: apply(t, base.DeepCopy().Object, tc.set)}
			check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), tc.want)
		})
	}
}
