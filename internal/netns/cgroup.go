// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// maxUID is longer than any pod UID (36 characters, or 32 for a static pod).
const maxUID = 64

// checkUID rejects strings that cannot be the UID of a pod, because the UID is
// compared with parts of cgroup paths.
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

// inPod reports whether a /proc/PID/cgroup file (proc(5), cgroups(7)) belongs
// to a process of the pod. The files have the following formats, in v1 with one
// line per controller and in v2 with a single line:
//
//	cgroupfs  /kubepods/burstable/pod<uid>/<container>
//	systemd   /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<container>.scope
//
// The systemd format replaces the dashes of the UID by underscores. Paths can
// be below a cgroup root of the kubelet, and start with /.. if read from
// another cgroup namespace. Source: kubelet,
// pkg/kubelet/cm/cgroup_manager_linux.go.
func inPod(cgroup []byte, uid string) bool {
	lines := bufio.NewScanner(bytes.NewReader(cgroup))
	for lines.Scan() {
		// HIERARCHY:CONTROLLERS:PATH, where the path can contain colons.
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) == 3 && pathInPod(fields[2], uid) {
			return true
		}
	}
	return false
}

// pathInPod reports whether a cgroup path is in the pod. The first cgroup on the path
// that belongs to any pod decides: a container that can create cgroups below its own
// can name them like the cgroup of another pod.
func pathInPod(path, uid string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segmentIsPod(segment, uid) {
			return true
		}
		if podSegment.MatchString(segment) {
			return false
		}
	}
	return false
}

// podSegment matches the cgroup of any pod: the UID that the API server generates, or
// the hash of a static pod.
var podSegment = regexp.MustCompile(`^pod([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})$` +
	`|-pod([0-9a-f]{8}(_[0-9a-f]{4}){3}_[0-9a-f]{12}|[0-9a-f]{32})\.slice$`)

func segmentIsPod(segment, uid string) bool {
	name, slice := strings.CutSuffix(segment, ".slice")
	if !slice {
		return segment == "pod"+uid
	}
	// In systemd, the name of a slice contains its parents separated by dashes,
	// so dashes of the UID are replaced by underscores.
	_, last, found := strings.Cut(name, "-pod"+strings.ReplaceAll(uid, "-", "_"))
	return found && last == ""
}
