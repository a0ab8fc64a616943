// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// maxUID is longer than any pod UID (36 characters, or 32 of a static pod).
const maxUID = 64

// checkUID refuses what cannot be the UID of a pod: it becomes part of a
// comparison with cgroup paths.
func checkUID(uid string) error {
	if uid == "" || len(uid) > maxUID {
		return fmt.Errorf("%w: length %d", ErrInvalidUID, len(uid))
	}
	for _, r := range uid {
		if !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-", r) {
			return fmt.Errorf("%w: character %q", ErrInvalidUID, r)
		}
	}
	return nil
}

// inPod reports whether a /proc/PID/cgroup file (proc(5), cgroups(7)) is that of a
// process of the pod. The shapes are, each in v1 with a line for every
// controller and in v2 with one line:
//
//	cgroupfs  /kubepods/burstable/pod<uid>/<container>
//	systemd   /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<container>.scope
//
// with underscores for the dashes of the UID in systemd's, possibly below a
// cgroup root of the kubelet's, and beginning with /.. as seen from within
// another cgroup namespace. Source: kubelet, pkg/kubelet/cm/cgroup_manager_linux.go.
func inPod(cgroup []byte, uid string) bool {
	lines := bufio.NewScanner(bytes.NewReader(cgroup))
	for lines.Scan() {
		// HIERARCHY:CONTROLLERS:PATH; the path may contain colons.
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) == 3 && pathInPod(fields[2], uid) {
			return true
		}
	}
	return false
}

func pathInPod(path, uid string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segmentIsPod(segment, uid) {
			return true
		}
	}
	return false
}

func segmentIsPod(segment, uid string) bool {
	name, slice := strings.CutSuffix(segment, ".slice")
	if !slice {
		return segment == "pod"+uid
	}
	// systemd spells the parents of a slice into its name, with dashes
	// between them, so a dash of the UID has become an underscore.
	_, last, found := strings.Cut(name, "-pod"+strings.ReplaceAll(uid, "-", "_"))
	return found && last == ""
}
