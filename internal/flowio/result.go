// SPDX-License-Identifier: Apache-2.0

package flowio

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ResultVersion is the version of the result format.
const ResultVersion = "meshvm.io/trace-result/v1"

// MaxResultBytes is the maximum length of a result that was compressed. A longer one is
// rejected, so that a compressed message cannot use an unlimited amount of memory.
const MaxResultBytes = 32 << 10

// ErrInvalidResult indicates data that is not a result.
var ErrInvalidResult = errors.New("invalid trace result")

// packed is a compressed result.
type packed struct {
	Version string `json:"version"`
	// Gzip is the JSON encoding of the result, compressed (RFC 1952).
	Gzip []byte `json:"gzip,omitempty"`
}

// Pack compresses an encoded result. The text of rules repeats, so that a packed
// result has about a fifth of the size.
func Pack(result []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress the trace: %w", err)
	}
	if _, err := w.Write(result); err != nil {
		return nil, fmt.Errorf("compress the trace: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress the trace: %w", err)
	}
	return json.Marshal(packed{Version: ResultVersion, Gzip: b.Bytes()})
}

// Unpack returns the JSON encoding of a result that Pack compressed, or that was not
// compressed. It does not decode the result.
func Unpack(message []byte) ([]byte, error) {
	var p packed
	if err := json.Unmarshal(message, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	if p.Version != ResultVersion {
		return nil, fmt.Errorf("%w: version %q, expected %q", ErrInvalidResult, p.Version, ResultVersion)
	}
	if len(p.Gzip) == 0 {
		return message, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(p.Gzip))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, MaxResultBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	if len(b) > MaxResultBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrInvalidResult, MaxResultBytes)
	}
	return b, nil
}

// Summary is the part of a result that the manager reads.
type Summary struct {
	// Version is ResultVersion.
	Version string `json:"version"`
	// PodUID is the UID in the request.
	PodUID string `json:"podUID"`
	// Outcome is the outcome of the trace.
	Outcome string `json:"outcome"`
	// Message is a sentence with details.
	Message string `json:"message"`
	// Flows are in the order of their first packet.
	Flows []FlowSummary `json:"flows"`
}

// FlowSummary describes where a flow ended.
type FlowSummary struct {
	// From is where the flow started.
	From From `json:"from"`
	// Summary describes where the flow ended and the reason.
	Summary string `json:"summary"`
	// Ending and Answer are the ending and the answer of the last leg.
	Ending string `json:"ending"`
	Answer string `json:"answer"`
	// ViaProxy reports whether the proxy accepted the flow.
	ViaProxy bool `json:"viaProxy"`
	// Legs are the connections of the flow.
	Legs []LegSummary `json:"legs"`
}

// LegSummary is one connection.
type LegSummary struct {
	Protocol    string `json:"protocol"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// Summarize decodes an unpacked result. It ignores the other fields.
func Summarize(result []byte) (Summary, error) {
	var s Summary
	if err := json.Unmarshal(result, &s); err != nil {
		return s, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	if s.Version != ResultVersion {
		return s, fmt.Errorf("%w: version %q, expected %q", ErrInvalidResult, s.Version, ResultVersion)
	}
	return s, nil
}
