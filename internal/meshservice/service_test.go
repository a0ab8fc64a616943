// SPDX-License-Identifier: Apache-2.0

package meshservice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/meshservice"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// member returns a member of the Service web that has served for a minute.
func member(name, version string, age time.Duration, changes ...func(*meshservice.Member)) meshservice.Member {
	mvm := b.MVM(name).Version(version).Service(v1alpha1.ServiceSpec{Name: "web"}).Obj()
	mvm.CreationTimestamp = metav1.NewTime(now.Add(-age))
	m := meshservice.Member{MVM: mvm}
	for _, change := range append([]func(*meshservice.Member){pod(version, time.Minute)}, changes...) {
		change(&m)
	}
	return m
}

// pod adds a pod of a version that has been ready for a duration, or is not ready if the
// duration is negative.
func pod(version string, ready time.Duration) func(*meshservice.Member) {
	return func(m *meshservice.Member) {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("%s-%d", m.MVM.Name, len(m.Pods)),
			Labels: map[string]string{v1alpha1.LabelVersion: version, v1alpha1.LabelService: "web"},
		}}
		status := corev1.ConditionTrue
		if ready < 0 {
			status = corev1.ConditionFalse
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(now.Add(-ready))}}
		m.Pods = append(m.Pods, p)
		m.Programmed = map[string]bool{}
		for i := range m.Pods {
			m.Programmed[m.Pods[i].Name] = true
		}
	}
}

func stopped(m *meshservice.Member) { m.Pods = nil }

func percent(p int32) func(*meshservice.Member) {
	return func(m *meshservice.Member) { m.MVM.Spec.Service.TrafficPercent = &p }
}

func keep(m *meshservice.Member) { m.MVM.Spec.Service.WhenUnready = v1alpha1.WhenUnreadyKeep }

func rejected(m *meshservice.Member) { m.Rejected = true }

func unprogrammed(m *meshservice.Member) { m.Programmed = nil }

// ready replaces the pods with one that has been ready for a duration.
func ready(d time.Duration) func(*meshservice.Member) {
	return func(m *meshservice.Member) {
		version := m.Pods[0].Labels[v1alpha1.LabelVersion]
		m.Pods = nil
		pod(version, d)(m)
	}
}

// status sets the percentages of the last accepted specs.
func status(versions ...v1alpha1.ServiceVersionStatus) func(*meshservice.Member) {
	return func(m *meshservice.Member) { m.MVM.Status.Service.Versions = versions }
}

func was(version string, declared, effective int32, serving bool) v1alpha1.ServiceVersionStatus {
	return v1alpha1.ServiceVersionStatus{Version: version, DeclaredPercent: &declared, EffectivePercent: &effective, Serving: &serving}
}

// text describes the percentages: VERSION=DECLARED, or VERSION=DECLARED>EFFECTIVE if they
// differ.
func text(s meshservice.Service) string {
	var out []string
	for _, v := range s.Versions {
		t := fmt.Sprintf("%s=%d", v.Name, v.Declared)
		if v.Effective != v.Declared {
			t += fmt.Sprintf(">%d", v.Effective)
		}
		out = append(out, t)
	}
	return strings.Join(out, " ")
}

func TestPercentages(t *testing.T) {
	stable := func(changes ...func(*meshservice.Member)) meshservice.Member {
		return member("web", "v1", 10*time.Hour, changes...)
	}
	canary := func(changes ...func(*meshservice.Member)) meshservice.Member {
		return member("web-canary", "v2", time.Hour, changes...)
	}
	third := func(changes ...func(*meshservice.Member)) meshservice.Member {
		return member("web-3", "v3", time.Minute, changes...)
	}
	all := func(m ...meshservice.Member) []meshservice.Member { return m }
	for name, tc := range map[string]struct {
		members  []meshservice.Member
		want     string
		conflict string
	}{
		"alone":                          {all(stable()), "", ""},
		"a canary":                       {all(stable(), canary(percent(10))), "v1=90 v2=10", ""},
		"both set":                       {all(stable(percent(90)), canary(percent(10))), "v1=90 v2=10", ""},
		"none set":                       {all(stable(), canary()), "v1=50 v2=50", ""},
		"three members":                  {all(stable(), canary(), third()), "v1=34 v2=33 v3=33", ""},
		"replicas of one version":        {all(stable(), member("web-b", "v1", time.Hour)), "v1=100", ""},
		"the rest by number of members":  {all(stable(), member("web-b", "v1", time.Hour), canary(), third(percent(10))), "v1=60 v2=30 v3=10", ""},
		"scaled up":                      {all(stable(percent(30)), canary(percent(10))), "v1=75 v2=25", ""},
		"blue and green":                 {all(stable(percent(0)), canary(percent(100))), "v1=0 v2=100", ""},
		"nothing left for the rest":      {all(stable(), canary(percent(100))), "v1=0 v2=100", ""},
		"a percentage of two members":    {all(stable(), canary(percent(10)), member("web-c", "v2", time.Minute, percent(10))), "v1=90 v2=10", ""},
		"another member of the version":  {all(stable(), canary(percent(10)), member("web-c", "v2", time.Minute)), "v1=90 v2=10", ""},
		"contradicting percentages":      {all(stable(status(was("v1", 90, 90, true), was("v2", 10, 10, true))), canary(percent(10)), member("web-c", "v2", time.Minute, percent(20))), "v1=90 v2=10", "web-c"},
		"above 100":                      {all(stable(percent(95), status(was("v1", 90, 90, true), was("v2", 10, 10, true))), canary(percent(10))), "v1=90 v2=10", "web-canary"},
		"above 100, never started":       {all(stable(percent(95)), canary(percent(10), stopped)), "", "web-canary"},
		"0 for all":                      {all(stable(percent(0), status(was("v1", 90, 90, true), was("v2", 10, 10, true))), canary(percent(0))), "v1=90 v2=10", "web-canary"},
		"0 alone":                        {all(stable(percent(0))), "", ""},
		"0 for the only version":         {all(stable(percent(0)), member("web-b", "v1", time.Hour, percent(0))), "v1=100", ""},
		"0 after the lead was deleted":   {all(canary(percent(0), status(was("v1", 100, 100, true), was("v2", 0, 0, true)))), "", ""},
		"0 for all but a rejected one":   {all(stable(percent(100), rejected, status(was("v1", 100, 100, true), was("v2", 0, 0, true), was("v3", 0, 0, true))), canary(percent(0)), third(percent(0))), "v1=100 v2=0 v3=0", ""},
		"0 but for a conflict":           {all(stable(percent(0), status(was("v1", 0, 0, true), was("v2", 0, 0, true), was("v3", 100, 100, true))), canary(percent(0)), third(percent(100), func(m *meshservice.Member) { m.MVM.Spec.Ports = nil })), "v1=0 v2=0 v3=100", "web-3"},
		"0 but for a rejected lead":      {all(stable(percent(100), rejected), canary(percent(0)), third(percent(0))), "v1=100 v2=0 v3=0", ""},
		"0 and a rejected one had 0":     {all(stable(percent(0), status(was("v1", 60, 60, true), was("v2", 40, 40, true), was("v3", 0, 0, true))), canary(percent(0)), third(percent(100), rejected)), "v1=60 v2=40 v3=0", "web-canary"},
		"0 and a rejected one stopped":   {all(stable(percent(0), status(was("v1", 0, 0, true), was("v2", 0, 0, true), was("v3", 100, 100, true))), canary(percent(0)), third(percent(100), rejected, stopped)), "v1=100 v2=0", "web-canary"},
		"a rejected member keeps its":    {all(stable(status(was("v1", 90, 90, true), was("v2", 10, 10, true))), canary(percent(50), rejected)), "v1=90 v2=10", ""},
		"a rejected lead":                {all(stable(rejected, status(was("v1", 90, 90, true), was("v2", 10, 10, true))), canary(percent(50))), "v1=90 v2=10", ""},
		"a rejected lead, alone before":  {all(stable(rejected), canary(percent(50))), "v1=100 v2=0", ""},
		"rejected, and one stopped":      {all(stable(), canary(percent(10)), third(percent(80), rejected, stopped)), "v1=90 v2=10", ""},
		"the version of the pod":         {all(stable(func(m *meshservice.Member) { m.MVM.Spec.Version = "v9" }), canary(percent(10))), "v1=90 v2=10", ""},
		"the canary does not serve":      {all(stable(), canary(percent(10), ready(-1))), "v1=90>100 v2=10>0", ""},
		"the canary is stopped":          {all(stable(), canary(percent(10), stopped)), "v1=90>100 v2=10>0", ""},
		"rules are not verified":         {all(stable(), canary(percent(10), unprogrammed)), "v1=90>100 v2=10>0", ""},
		"the stable version is down":     {all(stable(stopped), canary(percent(10))), "v1=90>0 v2=10>100", ""},
		"none serves":                    {all(stable(stopped), canary(percent(10), ready(-1))), "v1=90 v2=10", ""},
		"kept":                           {all(stable(), canary(percent(10), stopped, keep)), "v1=90 v2=10", ""},
		"in proportion":                  {all(stable(percent(60)), canary(percent(20), stopped), third(percent(20))), "v1=60>75 v2=20>0 v3=20>25", ""},
		"one of three is kept":           {all(stable(percent(60)), canary(percent(20), stopped, keep), third(percent(20), stopped)), "v1=60>80 v2=20 v3=20>0", ""},
		"not for 30 seconds yet":         {all(stable(), canary(percent(10), ready(29*time.Second))), "v1=90>100 v2=10>0", ""},
		"for 30 seconds":                 {all(stable(), canary(percent(10), ready(30*time.Second))), "v1=90 v2=10", ""},
		"both start":                     {all(stable(ready(time.Second)), canary(percent(10), ready(2*time.Second))), "v1=90 v2=10", ""},
		"only the canary serves yet":     {all(stable(ready(-1)), canary(percent(10), ready(time.Second))), "v1=90>0 v2=10>100", ""},
		"the stable version was down":    {all(stable(ready(time.Second), status(was("v1", 90, 0, false))), canary(percent(10))), "v1=90>0 v2=10>100", ""},
		"a migration of the stable":      {all(stable(ready(time.Second), status(was("v1", 90, 90, true))), canary(percent(10))), "v1=90 v2=10", ""},
		"a migration of a shifted one":   {all(stable(ready(time.Second), status(was("v1", 90, 0, true))), canary(percent(10))), "v1=90>0 v2=10>100", ""},
		"0 percent receives nothing":     {all(stable(percent(100), stopped), canary(percent(0))), "v1=100 v2=0", ""},
		"not selected before a restart":  {all(stable(func(m *meshservice.Member) { delete(m.Pods[0].Labels, v1alpha1.LabelService) }), canary(percent(10))), "v1=90>100 v2=10>0", ""},
		"a pod without the label":        {all(stable(), canary(percent(10), func(m *meshservice.Member) { delete(m.Pods[0].Labels, v1alpha1.LabelService) })), "v1=90>100 v2=10>0", ""},
		"one of two members of a canary": {all(stable(), canary(percent(10), stopped), member("web-c", "v2", time.Minute, percent(10))), "v1=90 v2=10", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := meshservice.Compute("web", tc.members, now)
			if got := text(s); got != tc.want {
				t.Errorf("the percentages are %q, want %q", got, tc.want)
			}
			var conflicts []string
			for name := range s.Conflicts {
				conflicts = append(conflicts, name)
			}
			if got := strings.Join(conflicts, " "); got != tc.conflict {
				t.Errorf("the members with a conflict are %q, want %q", got, tc.conflict)
			}
			reversed := slices.Clone(tc.members)
			slices.Reverse(reversed)
			if got := text(meshservice.Compute("web", reversed, now)); got != tc.want {
				t.Errorf("in reverse order, the percentages are %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLead(t *testing.T) {
	for name, tc := range map[string]struct {
		names []string
		want  string
	}{
		"the name of the Service": {[]string{"a", "web"}, "web"},
		"the oldest":              {[]string{"b", "c", "a"}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			var members []meshservice.Member
			for i, n := range tc.names {
				members = append(members, member(n, "v1", time.Duration(10-i)*time.Hour))
			}
			if got := meshservice.Compute("web", members, now).Lead().Name; got != tc.want {
				t.Errorf("the lead is %s, want %s", got, tc.want)
			}
		})
	}
	same := []meshservice.Member{member("b", "v1", time.Hour), member("a", "v1", time.Hour)}
	if got := meshservice.Compute("web", same, now).Lead().Name; got != "a" {
		t.Errorf("of two members of the same age, the lead is %s", got)
	}
}

// TestConflictWithWaypoint gives the lead a waypoint, whose policies would apply to the
// requests for the other member.
func TestConflictWithWaypoint(t *testing.T) {
	ambient := func(m *meshservice.Member) { m.MVM.Spec.Mesh.DataPlane = v1alpha1.DataPlaneAmbient }
	lead := member("web", "v1", time.Hour, ambient, func(m *meshservice.Member) { m.MVM.Spec.Mesh.Waypoint.Name = "waypoint" })
	s := meshservice.Compute("web", []meshservice.Member{lead, member("canary", "v2", time.Minute, ambient)}, now)
	if got := s.Conflicts["canary"]; !strings.Contains(got, "mesh.waypoint of web, the lead of the Service, does not support a shared Service") {
		t.Errorf("the conflict is %q", got)
	}
}

// TestConflicts changes one field of the second member.
func TestConflicts(t *testing.T) {
	port := func(change func(*v1alpha1.Port)) func(*meshservice.Member) {
		return func(m *meshservice.Member) { change(&m.MVM.Spec.Ports[0]) }
	}
	for name, tc := range map[string]struct {
		change func(*meshservice.Member)
		want   string
	}{
		"equal":       {func(*meshservice.Member) {}, ""},
		"explicit":    {port(func(p *v1alpha1.Port) { p.Protocol, p.Via = v1alpha1.PortProtocolTCP, v1alpha1.PortViaMesh }), ""},
		"timeout":     {port(func(p *v1alpha1.Port) { p.Timeout = "5s" }), ""},
		"mtls":        {port(func(p *v1alpha1.Port) { p.MTLS = v1alpha1.MTLSModePermissive }), ""},
		"name":        {port(func(p *v1alpha1.Port) { p.Name = "web" }), `port "web" differs`},
		"port":        {port(func(p *v1alpha1.Port) { p.Port = 81 }), `port "http" differs`},
		"targetPort":  {port(func(p *v1alpha1.Port) { p.TargetPort = 81 }), `port "http" differs`},
		"appProtocol": {port(func(p *v1alpha1.Port) { p.AppProtocol = "grpc" }), `port "http" differs`},
		"via":         {port(func(p *v1alpha1.Port) { p.Via = v1alpha1.PortViaDirect }), `port "http" differs`},
		"more":        {func(m *meshservice.Member) { m.MVM.Spec.Ports = append(m.MVM.Spec.Ports, b.TCP("db", 5432)) }, `port "db" differs`},
		"fewer":       {func(m *meshservice.Member) { m.MVM.Spec.Ports = nil }, `port "http" of web, the lead of the Service, is missing`},
		"data plane":  {func(m *meshservice.Member) { m.MVM.Spec.Mesh.DataPlane = v1alpha1.DataPlaneAmbient }, "mesh.dataPlane is Ambient, and Sidecar of web"},
	} {
		t.Run(name, func(t *testing.T) {
			members := []meshservice.Member{member("web", "v1", time.Hour), member("canary", "v2", time.Minute, tc.change)}
			s := meshservice.Compute("web", members, now)
			got := s.Conflicts["canary"]
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("the conflict is %q, want %q", got, tc.want)
			}
			if len(s.Members) != 2 {
				t.Errorf("a running guest does not belong to the Service any more")
			}
			stopped(&members[1])
			if s := meshservice.Compute("web", members, now); s.Shared() != (tc.want == "") {
				t.Errorf("the Service is shared: %t", s.Shared())
			}
		})
	}
}

func TestWithoutEffect(t *testing.T) {
	lead, canary := member("web", "v1", time.Hour).MVM, member("canary", "v2", time.Minute).MVM
	if got := meshservice.WithoutEffect(lead, canary); got != nil {
		t.Errorf("without settings: %q", got)
	}
	canary.Spec.Service.Type = v1alpha1.ServiceTypeClusterIP
	lead.Spec.Service.Type = v1alpha1.ServiceTypeLoadBalancer
	canary.Spec.Service.Annotations = map[string]string{"a": "b"}
	canary.Spec.Mesh.ExportTo = []string{"."}
	canary.Spec.Ports[0].Timeout = "5s"
	want := []string{"service.annotations", "mesh.exportTo", "timeout of port http"}
	if diff := cmp.Diff(want, meshservice.WithoutEffect(lead, canary)); diff != "" {
		t.Error(diff)
	}
	lead.Spec.Service.Type, canary.Spec.Service.TrafficPercent = v1alpha1.ServiceTypeHeadless, new(int32(10))
	if got := meshservice.WithoutEffect(lead, canary); !slices.Contains(got, "service.trafficPercent") {
		t.Errorf("of a headless Service: %q", got)
	}
	if got := meshservice.WithoutEffect(canary, canary); got != nil {
		t.Errorf("of the lead: %q", got)
	}
}

// TestRecheck checks when the percentages change without another event.
func TestRecheck(t *testing.T) {
	s := meshservice.Compute("web", []meshservice.Member{
		member("web", "v1", time.Hour), member("canary", "v2", time.Minute, percent(10), ready(10*time.Second)),
	}, now)
	if s.Recheck != 20*time.Second {
		t.Errorf("checked again after %s", s.Recheck)
	}
	s = meshservice.Compute("web", []meshservice.Member{member("web", "v1", time.Hour), member("canary", "v2", time.Minute)}, now)
	if s.Recheck != 0 {
		t.Errorf("at rest, checked again after %s", s.Recheck)
	}
}

// FuzzPercentages checks that the sums are 100, that a version that serves never
// loses traffic when another one stops, and that without Keep a version that does not serve
// receives nothing while another one with traffic serves.
func FuzzPercentages(f *testing.F) {
	f.Add([]byte{90, 10, 101}, uint8(0b011), uint8(0), uint8(1))
	f.Add([]byte{1, 1, 1, 97, 0}, uint8(0b10111), uint8(2), uint8(0))
	f.Fuzz(func(t *testing.T, percents []byte, serving, kept, stop uint8) {
		if len(percents) < 2 || len(percents) > 8 {
			return
		}
		before, after := generated(percents, serving|1<<(stop%8), kept), generated(percents, serving&^(1<<(stop%8)), kept)
		for _, s := range []meshservice.Service{before, after} {
			checkSums(t, s, kept)
		}
		for i, v := range after.Versions {
			// A rounding error of one per cent is possible.
			if v.Serving && v.Declared > 0 && v.Effective < before.Versions[i].Effective-1 {
				t.Errorf("%s has %d %% and %d %% after another version stopped", v.Name, before.Versions[i].Effective, v.Effective)
			}
		}
	})
}

// generated returns a Service with a member for each percentage, which is not set if it is
// above 100. The bits of serving and kept are those of the members.
func generated(percents []byte, serving, kept uint8) meshservice.Service {
	var members []meshservice.Member
	for i, p := range percents {
		m := member(fmt.Sprintf("m%d", i), fmt.Sprintf("v%d", i), time.Duration(20-i)*time.Hour)
		if p <= 100 {
			percent(int32(p))(&m)
		}
		if serving>>i&1 == 0 {
			ready(-1)(&m)
		}
		if kept>>i&1 == 1 {
			keep(&m)
		}
		members = append(members, m)
	}
	return meshservice.Compute("web", members, now)
}

// checkSums checks that the percentages are complete, and that a version that does not serve
// receives nothing while another one with traffic serves.
func checkSums(t *testing.T, s meshservice.Service, kept uint8) {
	t.Helper()
	declared, effective, someone := int32(0), int32(0), false
	for _, v := range s.Versions {
		declared, effective = declared+v.Declared, effective+v.Effective
		someone = someone || v.Serving && v.Declared > 0
		if v.Declared < 0 || v.Effective < 0 {
			t.Errorf("a percentage of %+v is negative", v)
		}
	}
	if declared != 100 || effective != 100 {
		t.Errorf("the sums are %d and %d: %s", declared, effective, text(s))
	}
	for i, v := range s.Versions {
		if someone && !v.Serving && kept>>i&1 == 0 && v.Effective != 0 {
			t.Errorf("%s does not serve and receives %d %%", v.Name, v.Effective)
		}
	}
}
