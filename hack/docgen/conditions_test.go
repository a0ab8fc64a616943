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
			source: "// Conditions.\nconst (\n\t// ConditionReady reports all.\n\t//\n\t// Possible reasons when True: Fine.\n\tConditionReady ConditionType = \"Ready\"\n)\n" +
				"// Reasons.\nconst (\n\t// ReasonFine: it | is.\n\tReasonFine ConditionReason = \"Fine\"\n)\n",
			want: "| `Ready` | Reports all. | When True: Fine. |\n\n## Reasons\n\n| Reason | Meaning |\n|---|---|\n| `Fine` | It \\| is. |\n",
		},
		"a reason that no condition lists": {
			source: "// Conditions.\nconst (\n\t// ConditionReady reports all.\n\t//\n\t// Possible reasons when True: Fine.\n\tConditionReady ConditionType = \"Ready\"\n)\n" +
				"// Reasons.\nconst (\n\t// ReasonOther: no.\n\tReasonOther ConditionReason = \"Other\"\n)\n",
			wantErr: "these reasons are not listed by any condition: Other",
		},
		"a condition without reasons": {
			source:  "// Conditions.\nconst (\n\t// ConditionReady reports all.\n\tConditionReady ConditionType = \"Ready\"\n)\n",
			wantErr: "condition Ready does not list its possible reasons",
		},
		"a reason without a comment": {
			source:  "// Reasons.\nconst (\n\tReasonFine ConditionReason = \"Fine\"\n)\n",
			wantErr: "ReasonFine: the comment must start with the name",
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
