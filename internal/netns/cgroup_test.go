// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"strings"
	"testing"
)

const uid = "0b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11"

var escaped = strings.ReplaceAll(uid, "-", "_")

// cgroupFiles are /proc/PID/cgroup files of processes of the pod and of other
// pods.
var cgroupFiles = map[string]struct {
	file string
	want bool
}{
	"v1, cgroupfs": {"12:pids:/kubepods/burstable/pod" + uid + "/1f\n1:name=systemd:/kubepods/burstable/pod" + uid + "/1f\n", true},
	"v1, systemd": {
		"4:memory:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/cri-containerd-1f.scope\n", true,
	},
	"v1, some controllers elsewhere": {"9:devices:/\n8:memory:/kubepods/pod" + uid + "/1f\n", true},
	"v2, cgroupfs":                   {"0::/kubepods/besteffort/pod" + uid + "/1f\n", true},
	"v2, systemd, containerd":        {"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + escaped + ".slice/cri-containerd-1f.scope\n", true},
	"v2, systemd, CRI-O":             {"0::/kubepods.slice/kubepods-pod" + escaped + ".slice/crio-1f.scope\n", true},
	"v2, CRI-O's nested container":   {"0::/kubepods.slice/kubepods-pod" + escaped + ".slice/crio-1f.scope/container\n", true},
	"guaranteed, cgroupfs":           {"0::/kubepods/pod" + uid + "/1f\n", true},
	"other cgroup namespace":         {"0::/../../kubepods-burstable-pod" + escaped + ".slice/cri-containerd-1f.scope\n", true},
	"other cgroup namespace, same class": {
		"0::/../../../kubepods/burstable/pod" + uid + "/1f\n", true,
	},
	"below another root": {
		"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + escaped + ".slice/cri-containerd-1f.scope\n", true,
	},
	"no final newline": {"0::/kubepods/pod" + uid + "/1f", true},
	"path with colons": {"0::/kubepods/pod" + uid + "/cri-containerd:1f\n", true},

	"another pod":               {"0::/kubepods/burstable/pod1b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11/1f\n", false},
	"longer UID":                {"0::/kubepods/burstable/pod" + uid + "0/1f\n", false},
	"longer UID, systemd":       {"0::/kubepods.slice/kubepods-pod" + escaped + "0.slice/crio-1f.scope\n", false},
	"UID as a container's name": {"0::/kubepods/burstable/podother/" + uid + "\n", false},
	"pod in the middle":         {"0::/kubepods/burstable/xpod" + uid + "/1f\n", false},
	"dashes in a slice":         {"0::/kubepods-pod" + uid + ".slice/crio-1f.scope\n", false},
	"underscores in cgroupfs":   {"0::/kubepods/pod" + escaped + "/1f\n", false},
	"host process":              {"0::/system.slice/containerd.service\n", false},
	"kernel thread":             {"0::/\n", false},
	"empty":                     {"", false},
	"not a cgroup file":         {"pod" + uid + "\n", false},
	"controllers with the name": {"1:pod" + uid + ":/\n", false},
	"nested in another pod": {
		"0::/kubepods/burstable/pod1b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11/1f/kubepods/burstable/pod" + uid + "/1f\n", false,
	},
	"nested in a static pod": {"0::/kubepods/pod5f5c2b0a9d6e4c3b8a7f6e5d4c3b2a19/1f/pod" + uid + "\n", false},
	"nested in another pod, systemd": {
		"0::/kubepods.slice/kubepods-pod1b6e5a54_7c5e_4f6e_9c52_7d2f6a1c9e11.slice/cri-containerd-1f.scope/kubepods-pod" + escaped + ".slice/x.scope\n", false,
	},
	"nested in another pod, other cgroup namespace": {"0::/../../pod1b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11/1f/pod" + uid + "\n", false},
	"escaped like systemd does":                     {"0::/kubepods.slice/kubepods\\x2dpod" + escaped + ".slice/x.scope\n", false},
	"another pod nested in this pod":                {"0::/kubepods/pod" + uid + "/1f/pod1b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11\n", true},
	"a nested slice":                                {"0::/user.slice/run-pod" + escaped + "-1.slice\n", false},
}

func TestInPod(t *testing.T) {
	for name, tc := range cgroupFiles {
		t.Run(name, func(t *testing.T) {
			if got := inPod([]byte(tc.file), uid); got != tc.want {
				t.Errorf("got %t, want %t for %q", got, tc.want, tc.file)
			}
		})
	}
}

func TestCheckUID(t *testing.T) {
	for name, tc := range map[string]struct {
		uid string
		bad bool
	}{
		"usual":      {uid: uid},
		"static pod": {uid: "5f5c2b0a9d6e4c3b8a7f6e5d4c3b2a19"},
		"empty":      {bad: true},
		"path":       {uid: "../../x", bad: true},
		"new line":   {uid: "a\nb", bad: true},
		"very long":  {uid: strings.Repeat("a", maxUID+1), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkUID(tc.uid); errors.Is(err, ErrInvalidUID) != tc.bad {
				t.Errorf("error %v, want one: %t", err, tc.bad)
			}
		})
	}
}

// FuzzInPod checks arbitrary files, which must not match another pod or cause a
// panic.
func FuzzInPod(f *testing.F) {
	for _, tc := range cgroupFiles {
		f.Add([]byte(tc.file), uid)
	}
	f.Fuzz(func(t *testing.T, file []byte, uid string) {
		if checkUID(uid) != nil {
			t.Skip("not a UID: it is rejected before files are read") //nolint:forbidigo // A property of the input.
		}
		if !inPod(file, uid) {
			return
		}
		text := string(file)
		if !strings.Contains(text, "pod"+uid) && !strings.Contains(text, "-pod"+strings.ReplaceAll(uid, "-", "_")+".slice") {
			t.Errorf("%q is not in pod %q", text, uid)
		}
	})
}
