// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestBusy(t *testing.T) {
	tests := map[string]struct {
		status string
		vmi    *kubevirtv1.VirtualMachineInstance
		want   string
	}{
		"idle":                         {`{}`, nil, ""},
		"no remaining requests":        {`{volumeRequests: []}`, &kubevirtv1.VirtualMachineInstance{}, ""},
		"a restore":                    {`{restoreInProgress: r}`, nil, "VirtualMachineRestore r"},
		"a snapshot":                   {`{snapshotInProgress: s}`, nil, "VirtualMachineSnapshot s"},
		"a volume request":             {`{volumeRequests: [{addVolumeOptions: {name: x}}]}`, nil, "the pending request in status.volumeRequests"},
		"a completed volume migration": {`{volumeUpdateState: {volumeMigrationState: {}}}`, &kubevirtv1.VirtualMachineInstance{}, ""},
		"a volume migration": {`{}`, &kubevirtv1.VirtualMachineInstance{Status: kubevirtv1.VirtualMachineInstanceStatus{
			MigratedVolumes: []kubevirtv1.StorageMigratedVolumeInfo{{VolumeName: "root"}},
		}}, "the migration of volumes"},
		"a volume migration that starts": {`{}`, &kubevirtv1.VirtualMachineInstance{Status: kubevirtv1.VirtualMachineInstanceStatus{
			Conditions: []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstanceVolumesChange, Status: "True"}},
		}}, "the migration of volumes"},
		"a cancelled volume migration": {`{}`, &kubevirtv1.VirtualMachineInstance{Status: kubevirtv1.VirtualMachineInstanceStatus{
			Conditions: []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstanceVolumesChange, Status: "False"}},
		}}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var status map[string]any
			if err := yaml.Unmarshal([]byte(tc.status), &status); err != nil {
				t.Fatal(err)
			}
			if got := Busy(&unstructured.Unstructured{Object: map[string]any{"status": status}}, tc.vmi); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
