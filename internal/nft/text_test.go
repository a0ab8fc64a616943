// SPDX-License-Identifier: Apache-2.0

package nft

import "testing"

func TestPriorityText(t *testing.T) {
	for _, tc := range []struct {
		hook     Hook
		priority int32
		style    Style
		want     string
	}{
		{HookPrerouting, -110, StylePortable, "dstnat - 10"},
		{HookPrerouting, -111, StylePortable, "-111"},
		{HookPrerouting, -100, StylePortable, "dstnat"},
		{HookPrerouting, -95, StylePortable, "dstnat + 5"},
		{HookPrerouting, -310, StylePortable, "raw - 10"},
		{HookPrerouting, 90, StylePortable, "90"},
		{HookOutput, -110, StylePortable, "-110"},
		{HookOutput, -110, StyleNFT11, "dstnat - 10"},
		{HookPostrouting, 90, StylePortable, "srcnat - 10"},
		{HookForward, -1, StylePortable, "filter - 1"},
		{HookInput, -110, StyleNFT11, "-110"},
	} {
		if got := priorityText(tc.hook, tc.priority, tc.style); got != tc.want {
			t.Errorf("priority %d on %s is %q, want %q", tc.priority, tc.hook, got, tc.want)
		}
	}
}
