// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	tests := map[string]struct {
		env  map[string]string
		want int64
		err  string
	}{
		"no limit is known":         {nil, 0, ""},
		"the limit of a container":  {map[string]string{MemoryLimitVariable: "536870912"}, 483183810, ""},
		"GOMEMLIMIT has precedence": {map[string]string{MemoryLimitVariable: "536870912", "GOMEMLIMIT": "off"}, 0, ""},
		"the memory of a node":      {map[string]string{MemoryLimitVariable: "9223372036854775807"}, 8301034833169298220, ""},
		"a quantity":                {map[string]string{MemoryLimitVariable: "512Mi"}, 0, `CONTAINER_MEMORY_LIMIT is "512Mi"`},
		"zero":                      {map[string]string{MemoryLimitVariable: "0"}, 0, "in bytes"},
		"negative":                  {map[string]string{MemoryLimitVariable: "-1"}, 0, "in bytes"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := MemoryLimit(func(key string) string { return tc.env[key] })
			if got != tc.want || tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("got %d, %v, want %d, %q", got, err, tc.want, tc.err)
			}
		})
	}
}
