// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const head = "package v1\n\ntype ConditionType string\n\ntype ConditionReason string\n"

func TestConditions(t *testing.T) {
	for name, tc := range map[string]struct {
		source  string
		want    string // in the text
		wantErr string
	}{
		"a condition and its reason": {
			source: "// Conditions.\nconst (\n\t// ConditionReady says all.\n\t//\n\t// Possible reasons when True: Fine.\n\tConditionReady ConditionType = \"Ready\"\n)\n" +
				"// Reasons.\nconst (\n\t// ReasonFine: it | is.\n\tReasonFine ConditionReason = \"Fine\"\n)\n",
			want: "| `Ready` | Says all. | When True: Fine. |\n\n## Reasons\n\n| Reason | Means |\n|---|---|\n| `Fine` | It \\| is. |\n",
		},
		"a reason of no condition": {
			source: "// Conditions.\nconst (\n\t// ConditionReady says all.\n\t//\n\t// Possible reasons when True: Fine.\n\tConditionReady ConditionType = \"Ready\"\n)\n" +
				"// Reasons.\nconst (\n\t// ReasonOther: no.\n\tReasonOther ConditionReason = \"Other\"\n)\n",
			wantErr: "no condition names these reasons as possible: Other",
		},
		"a condition without reasons": {
			source:  "// Conditions.\nconst (\n\t// ConditionReady says all.\n\tConditionReady ConditionType = \"Ready\"\n)\n",
			wantErr: "condition Ready names no possible reasons",
		},
		"a reason without a comment": {
			source:  "// Reasons.\nconst (\n\tReasonFine ConditionReason = \"Fine\"\n)\n",
			wantErr: "ReasonFine: its comment must start with its name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "conditions.go")
			if err := os.WriteFile(file, []byte(head+tc.source), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := conditions(file)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got, tc.want) {
				t.Errorf("want %q in:\n%s", tc.want, got)
			}
		})
	}
}
