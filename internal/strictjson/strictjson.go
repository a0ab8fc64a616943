// SPDX-License-Identifier: Apache-2.0

// Package strictjson decodes JSON that another version of this project may have
// written.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// errTrailing means that the value is not all.
var errTrailing = errors.New("data after the value")

// Decode fills in the value that v points to, and refuses fields that it has not
// and data after it.
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
