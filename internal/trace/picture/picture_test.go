// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/trace"
)

var update = flag.Bool("update", false, "write the golden files")

// endings are all endings.
var endings = []trace.Ending{
	trace.EndingGuest, trace.EndingProxyInbound, trace.EndingProxyOutbound, trace.EndingPod, trace.EndingOutside,
	trace.EndingDropped, trace.EndingNoListener, trace.EndingUnknown,
}

// results are results of test/kernel that were recorded with
// MESHVM_TRACE_RECORD, by the name of their file. The last two are changed
// results: no test of the kernel causes these endings.
func results(t *testing.T) map[string]trace.Result {
	t.Helper()
	out := map[string]trace.Result{}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = load(t, file)
	}
	r := load(t, "testdata/outbound.json")
	f := &r.Flows[0]
	f.Legs, f.Ending = f.Legs[:1], trace.EndingProxyOutbound
	out["outbound-proxyonly"] = r
	r = load(t, "testdata/direct.json")
	f = &r.Flows[0]
	f.Ending, f.Answer = trace.EndingUnknown, trace.AnswerUnknown
	f.Legs[0] = trace.Leg{Protocol: "tcp", Source: f.Legs[0].Source, Destination: f.Legs[0].Destination, Ending: f.Ending, Answer: f.Answer}
	f.Summary = "Ended at a location that neither rules nor conntrack events show."
	out["unknown"] = r
	return out
}

func load(t *testing.T, file string) trace.Result {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := trace.DecodeResult(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHTML(t *testing.T) {
	var seen []trace.Ending
	for name, r := range results(t) {
		seen = append(seen, r.Flows[0].Ending)
		t.Run(name, func(t *testing.T) {
			got, err := HTML(r)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".html"), got)
			selfContained(t, got)
		})
	}
	for _, e := range endings {
		if !slices.Contains(seen, e) {
			t.Errorf("no picture of ending %s", e)
		}
	}
}

// external matches what a browser would load or run.
var external = regexp.MustCompile(`(?i)<script|<link|<img|<iframe|@import|\bsrc=|\bhref=|\bon[a-z]+=|url\([^#]`)

func selfContained(t *testing.T, page string) {
	t.Helper()
	if found := external.FindString(page); found != "" {
		t.Errorf("the page contains %q", found)
	}
}

// documented are the pictures of docs/trace.md by the name of their result.
var documented = map[string]string{"proxied": "trace-inbound.svg", "dropped": "trace-dropped.svg"}

func TestDocumentedPictures(t *testing.T) {
	for name, file := range documented {
		r := load(t, filepath.Join("testdata", name+".json"))
		golden(t, filepath.Join("../../../docs/drawings", file), SVG(r, r.Flows[0]))
	}
}

// golden compares text with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), run \"go test ./internal/trace/picture -update\":\n%s", file, diff)
	}
}

func TestSVG(t *testing.T) {
	for name, r := range results(t) {
		for _, f := range r.Flows {
			text := SVG(r, f)
			selfContained(t, text)
			d := xml.NewDecoder(strings.NewReader(text))
			for {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if !strings.Contains(text, "<desc id=\"flow-desc\">"+escaped(f.Summary)) {
				t.Errorf("%s: no description for screen readers", name)
			}
		}
	}
}

func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

// TestHostileTexts draws a result whose texts contain markup.
func TestHostileTexts(t *testing.T) {
	markup := `"'></text><script>alert(1)</script>`
	r := load(t, "testdata/proxied.json")
	r.Message, r.Notes = markup, []string{markup}
	f := &r.Flows[0]
	f.Summary, f.Proxy = markup, markup
	for i := range f.Legs {
		l := &f.Legs[i]
		l.Protocol, l.Source, l.Destination, l.TranslatedSource, l.TranslatedDestination = markup, markup, markup, markup, markup
		for j := range l.Hops {
			h := &l.Hops[j]
			h.Writer, h.Family, h.Table, h.Chain, h.Text, h.Comment, h.Verdict, h.Packet = markup, markup, markup, markup, markup, markup, markup, markup
			h.Repairs = []string{markup}
		}
	}
	for i := range r.Chains {
		c := &r.Chains[i]
		c.Writer, c.Family, c.Table, c.Chain, c.Type = markup, markup, markup, markup, markup
	}
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	selfContained(t, page)
	selfContained(t, SVG(r, *f))
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text         string
		width, limit int
		want         []string
	}{
		{"", 5, 2, nil},
		{"a b", 5, 2, []string{"a b"}},
		{"aaa bbb", 5, 2, []string{"aaa", "bbb"}},
		{"aaaaaaa b", 5, 2, []string{"aaaaa", "aa b"}},
		{"aaa bbb ccc", 5, 2, []string{"aaa", "bbb…"}},
		{"ääää ö", 4, 1, []string{"äää…"}},
	} {
		if diff := cmp.Diff(tc.want, wrap(tc.text, tc.width, tc.limit)); diff != "" {
			t.Errorf("wrap(%q, %d, %d) (-want +got):\n%s", tc.text, tc.width, tc.limit, diff)
		}
	}
}
