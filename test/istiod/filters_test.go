// SPDX-License-Identifier: Apache-2.0

package istiod_test

import (
	"encoding/json"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestFiltersAreValid decodes the configuration of each filter strictly as Envoy's message,
// and checks it with the validation that Envoy's API declares.
func TestFiltersAreValid(t *testing.T) {
	types := map[string]int{}
	for _, o := range objects(t, "../../internal/children/testdata/limits.yaml", goldenNamespace) {
		if o.GetKind() != "EnvoyFilter" {
			continue
		}
		patches, _, err := unstructured.NestedSlice(o.Object, "spec", "configPatches")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range patches {
			config, found, err := unstructured.NestedMap(p.(map[string]any), "patch", "value", "typed_config")
			if !found || err != nil {
				t.Fatalf("no configuration: %v", err)
			}
			text, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			var value anypb.Any
			if err := protojson.Unmarshal(text, &value); err != nil {
				t.Errorf("%v: %s", err, text)
				continue
			}
			message, err := value.UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			if err := message.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
				t.Errorf("%v: %s", err, text)
			}
			types[string(value.MessageName())]++
		}
	}
	t.Logf("validated filters: %v", types)
	if len(types) != 3 {
		t.Errorf("filters of %d types were validated", len(types))
	}
}
