// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	stdjson "encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/json"
)

// UnmarshalJSON decodes the object. The Go types of KubeVirt and Istio have limits that
// their schemas do not express: cores of a CPU is unsigned, and the port of a probe has 32
// bits. A field of the spec with such a value is not set, and SpecError contains the
// reason. An error would make reading every list that contains the object fail, so one
// object of a user would stop the operator for all users.
func (m *MeshedVirtualMachine) UnmarshalJSON(data []byte) error {
	type plain MeshedVirtualMachine // It does not have this method.
	m.SpecError = ""
	first := json.Unmarshal(data, (*plain)(m))
	if first == nil {
		return nil
	}
	var object, spec map[string]stdjson.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return err //nolint:wrapcheck // The caller names the object.
	}
	if err := json.Unmarshal(object["spec"], &spec); err != nil {
		return first //nolint:wrapcheck // The error is not in a field of the spec.
	}
	delete(object, "spec")
	rest, err := stdjson.Marshal(object)
	if err != nil {
		return err //nolint:wrapcheck // The caller names the object.
	}
	*m = MeshedVirtualMachine{}
	if err := json.Unmarshal(rest, (*plain)(m)); err != nil {
		return err //nolint:wrapcheck // The caller names the object.
	}
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		before := m.Spec.DeepCopy()
		field, err := stdjson.Marshal(map[string]stdjson.RawMessage{name: spec[name]})
		if err == nil {
			err = json.Unmarshal(field, &m.Spec)
		}
		if err != nil {
			m.Spec = *before // A failed decoding can have set a part of the field.
			m.SpecError = fmt.Sprintf("spec.%s: %v", name, err)
		}
	}
	return nil
}
