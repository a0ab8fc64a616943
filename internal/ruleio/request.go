// SPDX-License-Identifier: Apache-2.0

// Package ruleio is the contract between the manager and the rule-writer Job: a
// versioned Request in an annotation of the Job's pod, and a versioned Result
// in its termination message. It does not import Kubernetes packages, because
// the privileged rule-writer links it.
package ruleio

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"meshvm.io/meshvm/internal/strictjson"
)

// RequestVersion is the request format that this package writes.
const RequestVersion = requestPrefix + "1"

// MaxRequestBytes is the maximum length of a request. The annotations of an
// object are limited to 256 KiB in total
// (k8s.io/apimachinery/pkg/api/validation, TotalAnnotationSizeLimitB).
const MaxRequestBytes = 256 << 10

// Operation is the operation of the rule-writer on a target.
type Operation string

const (
	// OperationApply replaces the target's table with the table of the plan and
	// reads it back.
	OperationApply Operation = "Apply"
	// OperationRemove removes the target's table. It succeeds if the table does
	// not exist.
	OperationRemove Operation = "Remove"
	// OperationVerify reads the target's table and compares it with the table
	// of the plan. It does not write.
	OperationVerify Operation = "Verify"
)

// Request specifies operations in the network namespaces of one node.
type Request struct {
	// Version is RequestVersion.
	Version string `json:"version"`
	// Targets are independent of each other: the failure of one does not affect
	// the others.
	Targets []Target `json:"targets"`
}

// Target is one pod sandbox.
type Target struct {
	// Operation is the operation on the target.
	Operation Operation `json:"operation"`
	// PodUID identifies the pod's processes by their cgroup.
	PodUID string `json:"podUID"`
	// PodIPs are addresses of the pod. At least one of them must be set on an
	// interface in the namespace, otherwise the namespace is rejected.
	PodIPs []string `json:"podIPs"`
	// Plan is the desired state. It must be nil for OperationRemove and only
	// then.
	Plan *NATPlan `json:"plan,omitempty"`
	// Reset makes OperationApply terminate all established flows whose path
	// differs from the path in the new table, regardless of their age. Other
	// flows are not affected. Without Reset all established flows keep their
	// path.
	Reset bool `json:"reset,omitempty"`
}

// ErrInvalidRequest indicates a request that no retry can make valid.
var ErrInvalidRequest = errors.New("invalid request")

// Encode returns the canonical JSON encoding of the request.
func (r Request) Encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(b) > MaxRequestBytes {
		return nil, fmt.Errorf("%w: %d bytes exceed the limit of %d for the annotations of a pod", ErrInvalidRequest, len(b), MaxRequestBytes)
	}
	return b, nil
}

// Digest returns the SHA-256 digest of the encoded request in lower-case
// hexadecimal. It is part of the name of the Job and of the result, so that
// results cannot be confused.
func (r Request) Digest() (string, error) {
	b, err := r.Encode()
	if err != nil {
		return "", err
	}
	return DigestOf(b), nil
}

// DigestOf returns the SHA-256 digest of b in lower-case hexadecimal.
func DigestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// DecodeRequest decodes a request. It rejects unknown versions, unknown fields
// and trailing data with an error that wraps ErrInvalidRequest.
func DecodeRequest(b []byte) (Request, error) {
	var r Request
	if len(b) > MaxRequestBytes {
		return r, fmt.Errorf("%w: %d bytes, more than %d", ErrInvalidRequest, len(b), MaxRequestBytes)
	}
	// The version is checked first, because other errors can be caused by
	// another format.
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
			return fmt.Errorf("%w: targets[%d].operation %q is unknown", ErrInvalidRequest, i, t.Operation)
		case (t.Operation == OperationRemove) != (t.Plan == nil):
			return fmt.Errorf("%w: targets[%d].plan must be set, except for %s", ErrInvalidRequest, i, OperationRemove)
		case t.Reset && t.Operation != OperationApply:
			return fmt.Errorf("%w: targets[%d].reset is valid only for %s", ErrInvalidRequest, i, OperationApply)
		}
	}
	return nil
}
