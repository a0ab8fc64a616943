// SPDX-License-Identifier: Apache-2.0

// Package ruleio is the contract between the manager and the rule-writer Job:
// a versioned Request that travels in an annotation of the Job's pod, and a
// versioned Result that comes back in its termination message. It imports
// nothing of Kubernetes, because the privileged rule-writer links it.
package ruleio

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"meshvm.io/meshvm/internal/strictjson"
)

// RequestVersion names the request format that this package writes.
const RequestVersion = requestPrefix + "1"

// MaxRequestBytes bounds a decoded request. Annotations of an object may hold
// 256 KiB in all (k8s.io/apimachinery/pkg/api/validation, TotalAnnotationSizeLimitB).
const MaxRequestBytes = 256 << 10

// Operation is what the rule-writer does with a target.
type Operation string

const (
	// OperationApply replaces the target's table by that of the plan and
	// reads it back.
	OperationApply Operation = "Apply"
	// OperationRemove removes the target's table; a target without one is
	// already done.
	OperationRemove Operation = "Remove"
	// OperationVerify reads the target's table back and compares it with that
	// of the plan; it writes nothing.
	OperationVerify Operation = "Verify"
)

// Request shows the rule-writer what to do in the network namespaces of one
// node.
type Request struct {
	// Version is RequestVersion.
	Version string `json:"version"`
	// Targets are independent of each other: one that fails does not keep
	// the others from being handled.
	Targets []Target `json:"targets"`
}

// Target is one pod sandbox.
type Target struct {
	// Operation is what to do.
	Operation Operation `json:"operation"`
	// PodUID finds the pod's processes by their cgroup.
	PodUID string `json:"podUID"`
	// PodIPs are addresses of which at least one must be set on an interface
	// inside the namespace that is found; otherwise it is refused.
	PodIPs []string `json:"podIPs"`
	// Plan is the wanted state; nil for OperationRemove and only for it.
	Plan *Plan `json:"plan,omitempty"`
	// Reset makes OperationApply end the established flows that go otherwise
	// than the table reports that was written, whenever they began; all others
	// stay. Without it every established flow keeps its way.
	Reset bool `json:"reset,omitempty"`
}

// ErrInvalidRequest marks a request that no retry can make valid.
var ErrInvalidRequest = errors.New("invalid request")

// Encode returns the canonical JSON form of the request.
func (r Request) Encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(b) > MaxRequestBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than the %d that fit in a pod's annotations", ErrInvalidRequest, len(b), MaxRequestBytes)
	}
	return b, nil
}

// Digest is the lower-case hex SHA-256 of the encoded request. It names the
// Job and comes back in the result, so that neither can be taken for another.
func (r Request) Digest() (string, error) {
	b, err := r.Encode()
	if err != nil {
		return "", err
	}
	return DigestOf(b), nil
}

// DigestOf is the lower-case hex SHA-256 of b.
func DigestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// DecodeRequest reads a request and refuses unknown versions, unknown fields
// and trailing data with an error that wraps ErrInvalidRequest.
func DecodeRequest(b []byte) (Request, error) {
	var r Request
	if len(b) > MaxRequestBytes {
		return r, fmt.Errorf("%w: %d bytes, more than %d", ErrInvalidRequest, len(b), MaxRequestBytes)
	}
	// The version first: what else is wrong may come from another format.
	if version, err := versionOf(b); err == nil {
		if err := checkVersion(version, requestPrefix, requestFormat); err != nil {
			return r, fmt.Errorf("%w: %w", ErrInvalidRequest, err)
		}
	}
	if err := strictjson.Decode(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalidRequest, err)
	}
	return r, r.validate()
}

func (r Request) validate() error {
	if len(r.Targets) == 0 {
		return fmt.Errorf("%w: no targets", ErrInvalidRequest)
	}
	for i, t := range r.Targets {
		switch {
		case t.PodUID == "":
			return fmt.Errorf("%w: targets[%d].podUID is empty", ErrInvalidRequest, i)
		case len(t.PodIPs) == 0:
			return fmt.Errorf("%w: targets[%d].podIPs is empty", ErrInvalidRequest, i)
		case t.Operation != OperationApply && t.Operation != OperationRemove && t.Operation != OperationVerify:
			return fmt.Errorf("%w: targets[%d].operation %q is not known", ErrInvalidRequest, i, t.Operation)
		case (t.Operation == OperationRemove) != (t.Plan == nil):
			return fmt.Errorf("%w: targets[%d].plan must be there, but not for %s", ErrInvalidRequest, i, OperationRemove)
		case t.Reset && t.Operation != OperationApply:
			return fmt.Errorf("%w: targets[%d].reset is for %s only", ErrInvalidRequest, i, OperationApply)
		}
	}
	return nil
}
