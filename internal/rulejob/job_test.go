// SPDX-License-Identifier: Apache-2.0

package rulejob_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

var update = flag.Bool("update", false, "write the golden files")

func podNAT() *b.PodNATBuilder {
	return b.PodNAT("web-450ec7ff7b", b.LauncherPod(b.VMI("web").Obj(), "abcde").Obj())
}

func removal() ruleio.Request {
	return ruleio.Request{Version: ruleio.RequestVersion, Targets: []ruleio.Target{{
		Operation: ruleio.OperationRemove, PodUID: "pod-uid", PodIPs: []string{"10.244.0.8"},
	}}}
}

func application() ruleio.Request {
	r := removal()
	r.Targets[0].Operation = ruleio.OperationApply
	r.Targets[0].Plan = &ruleio.NATPlan{
		PodInterface: "eth0", Bridge: "k6t-eth0",
		Families: []ruleio.Family{{Name: ruleio.FamilyIPv4, Guest: "10.0.2.2", Gateway: "10.0.2.1", Pod: "10.244.0.8"}},
		Proxy:    ruleio.Proxy{InboundPort: 15006, OutboundPort: 15001, LocalPorts: []uint16{15001, 15006}},
		Inbound:  ruleio.Inbound{Mesh: []uint16{8080}},
	}
	return r
}

func config() rulejob.Config {
	return rulejob.Config{Namespace: "meshvm-system", Image: "example.invalid/rule-writer:test", ServiceAccount: "meshvm-rule-writer"}
}

func TestBuildGolden(t *testing.T) {
	custom := config()
	custom.ImagePullPolicy = corev1.PullNever
	custom.ImagePullSecrets = []string{"registry"}
	custom.PriorityClassName = "system-cluster-critical"
	for name, tc := range map[string]struct {
		cfg rulejob.Config
		req ruleio.Request
	}{
		"apply":  {cfg: config(), req: application()},
		"remove": {cfg: custom, req: removal()},
	} {
		t.Run(name, func(t *testing.T) {
			job, err := rulejob.Build(tc.cfg, podNAT().Obj(), "node-1", tc.req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(job)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.MkdirAll("testdata", 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got); -update rewrites it:\n%s", path, diff)
			}
		})
	}
}

// TestJobMatchesRequest checks that the annotation and the name of the Job match the
// request.
func TestJobMatchesRequest(t *testing.T) {
	job, err := rulejob.Build(config(), podNAT().Obj(), "node-1", application())
	if err != nil {
		t.Fatal(err)
	}
	request := job.Spec.Template.Annotations[v1alpha1.AnnotationRuleRequest]
	back, err := ruleio.DecodeRequest([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(application(), back); diff != "" {
		t.Errorf("request (-given +in the annotation):\n%s", diff)
	}
	digest, err := application().Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := rulejob.JobName(podNAT().Obj(), digest); job.Name != want {
		t.Errorf("the Job is named %q, JobName returns %q", job.Name, want)
	}
	again, err := rulejob.Build(config(), podNAT().Obj(), "node-1", application())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(job, again); diff != "" {
		t.Errorf("different Jobs for the same request (-first +second):\n%s", diff)
	}
}

func TestBuildRejects(t *testing.T) {
	unversioned := application()
	unversioned.Version = "other"
	large := application()
	large.Targets[0].Plan.Outbound.ExcludeCIDRs = strings.Split(strings.Repeat("10.0.0.0/8 ", 30000), " ")
	noImage, noNamespace := config(), config()
	noImage.Image, noNamespace.Namespace = "", ""
	for name, tc := range map[string]struct {
		cfg    rulejob.Config
		podnat *v1alpha1.PodNATConfiguration
		node   string
		req    ruleio.Request
		want   error
	}{
		"no configuration": {cfg: config(), node: "node-1", req: removal()},
		"no UID":           {cfg: config(), podnat: podNAT().UID("").Obj(), node: "node-1", req: removal()},
		"no node":          {cfg: config(), podnat: podNAT().Obj(), req: removal()},
		"no image":         {cfg: noImage, podnat: podNAT().Obj(), node: "node-1", req: removal()},
		"no namespace":     {cfg: noNamespace, podnat: podNAT().Obj(), node: "node-1", req: removal()},
		"empty request":    {cfg: config(), podnat: podNAT().Obj(), node: "node-1", want: ruleio.ErrInvalidRequest},
		"other version":    {cfg: config(), podnat: podNAT().Obj(), node: "node-1", req: unversioned, want: ruleio.ErrInvalidRequest},
		"too large":        {cfg: config(), podnat: podNAT().Obj(), node: "node-1", req: large, want: ruleio.ErrInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			job, err := rulejob.Build(tc.cfg, tc.podnat, tc.node, tc.req)
			if err == nil || job != nil {
				t.Fatalf("got a Job, and %v", err)
			}
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestJobName(t *testing.T) {
	const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	seen := map[string]bool{}
	for _, tc := range []struct {
		name   string
		uid    types.UID
		digest string
	}{
		{"web-450ec7ff7b", "1", digest},
		{"web-450ec7ff7b", "2", digest},
		{"web-450ec7ff7b", "1", "f" + digest},
		{strings.Repeat("a", 47) + "-450ec7ff7b", "3", digest},
		{strings.Repeat("a", 33) + "-" + strings.Repeat("b", 20), "4", digest},
		{"web", "5", ""},
	} {
		c := podNAT().UID(tc.uid).Obj()
		c.Name = tc.name
		got := rulejob.JobName(c, tc.digest)
		if tc.digest != "" {
			if errs := validation.IsDNS1123Label(got); len(errs) != 0 {
				t.Errorf("%q is not a label value: %v", got, errs)
			}
		}
		if seen[got] {
			t.Errorf("%q is the name of two Jobs", got)
		}
		seen[got] = true
	}
	if got := rulejob.JobName(nil, digest); got != "" {
		t.Errorf("got name %q without a PodNATConfiguration", got)
	}
}
