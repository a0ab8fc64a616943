// SPDX-License-Identifier: Apache-2.0

// Package strictjson decodes JSON that another version of this project can have
// written.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// errTrailing means that the value is followed by more data.
var errTrailing = errors.New("data after the value")

// Decode decodes the value that v points to. It rejects unknown fields and
// trailing data.
func Decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}
