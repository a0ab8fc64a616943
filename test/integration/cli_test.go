// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cli"
	"meshvm.io/meshvm/internal/cli/plugin"
	"meshvm.io/meshvm/internal/cli/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cliUser runs the kubectl plugin as a user with ClusterRoles in the namespace.
type cliUser struct {
	*suite
	kubeconfig string
}

// viewer returns a user with the role "view" and the role that meshvm adds to it. (The
// controller that aggregates roles does not run here.)
func (s *suite) viewer(more ...string) cliUser {
	s.Helper()
	s.installRBAC("aggregate_view.yaml")
	name := "cli-" + s.namespace
	s.tenant(name, append(more, "meshvm-view", "system:aggregate-to-view")...)
	text, err := shared.Get(s.T).Kubeconfig(name)
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(s.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		s.Fatal(err)
	}
	return cliUser{suite: s, kubeconfig: file}
}

// run runs the plugin with the namespace of the test.
func (u cliUser) run(args ...string) (code int, out, errOut string) {
	u.Helper()
	streams, _, o, e := genericiooptions.NewTestIOStreams()
	code = u.runWith(streams, args...)
	return code, o.String(), e.String()
}

func (u cliUser) runWith(streams genericiooptions.IOStreams, args ...string) int {
	all := append(slices.Clone(args), "--kubeconfig", u.kubeconfig, "--namespace", u.namespace, "--cache-dir", u.TempDir())
	return cli.Run(u.Context(), streams, all)
}

// want runs the plugin and checks the exit code and parts of the output.
func (u cliUser) want(code int, args []string, parts ...string) string {
	u.Helper()
	got, out, errOut := u.run(args...)
	u.Logf("kubectl meshvm %s (exit code %d):\n%s%s", strings.Join(args, " "), got, out, errOut)
	if got != code {
		u.Errorf("exit code %d, want %d", got, code)
	}
	for _, part := range parts {
		if !strings.Contains(out+errOut, part) {
			u.Errorf("the output does not contain %q", part)
		}
	}
	return out
}

// TestCLIStatus shows the state of machines to a user with the role "view" alone.
func TestCLIStatus(t *testing.T) {
	s := start(t)
	u := s.viewer()
	u.want(plugin.ExitAsDeclared, []string{"status"}, "0 of 0 machines in namespace "+s.namespace)
	u.want(plugin.ExitError, []string{"status", "web"}, "error: ", `"web" not found`)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	u.want(plugin.ExitAsDeclared, []string{"status", "web"}, s.namespace+"/web is as declared: ", pod.Name, nat.Name, "rules read back",
		"Service web: ClusterIP, ports http 80/TCP, ssh 22/TCP, echo 9000/UDP", "DestinationRule web: not read",
		"not permitted to read: VirtualMachine\n", "\nnext: kubectl meshvm nat web -n "+s.namespace)
	// The stand-in of the rule-writer reports a digest that is not that of a table.
	u.want(plugin.ExitDiffers, []string{"nat", "web"}, pod.Name, "another digest than the wanted rules", "(http)", "corrects: N")
	u.want(plugin.ExitError, []string{"status", "--all-namespaces"}, "error: ", "forbidden")

	s.installCLIReaders()
	s.tenant("cli-"+s.namespace, "cli-reader")
	s.eventually("the permissions take effect", func() error {
		if _, out, _ := u.run("status", "web"); !strings.Contains(out, "DestinationRule web: present") || strings.Contains(out, "not permitted") {
			return fmt.Errorf("the output is:\n%s", out)
		}
		return nil
	})
	s.checkStatusFormats(u)

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Identity.ServiceAccountName = "missing" })
	s.awaitMVM("web", want{v1alpha1.ConditionAccepted, "False", v1alpha1.ReasonServiceAccountNotFound})
	u.want(plugin.ExitDiffers, []string{"status", "web"}, "Accepted, reason ServiceAccountNotFound, next to act: you", "blocked by: Accepted (ServiceAccountNotFound)")
	u.want(plugin.ExitDiffers, []string{"status"}, "0 of 1 machines", "ServiceAccountNotFound")
	s.checkWatch(u)
}

// checkStatusFormats compares the formats of the output.
func (s *suite) checkStatusFormats(u cliUser) {
	s.Helper()
	var r status.Result
	if err := json.Unmarshal([]byte(u.want(plugin.ExitAsDeclared, []string{"status", "web", "-o", "json"})), &r); err != nil {
		s.Fatal(err)
	}
	if r.Format != status.Format || len(r.Machines) != 1 || r.Machines[0].Name != "web" || len(r.Machines[0].Objects) < 3 {
		s.Errorf("the result is %+v", r)
	}
	u.want(plugin.ExitAsDeclared, []string{"status", "web", "-o", "yaml"}, "asDeclared: true")
}

// installCLIReaders creates a role for the kinds of KubeVirt and Istio, whose projects
// add them to the role "view" in a cluster.
func (s *suite) installCLIReaders() {
	s.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "cli-reader"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"kubevirt.io", "networking.istio.io", "security.istio.io"}, Resources: []string{"*"}, Verbs: []string{"get"},
	}}}
	if err := s.Create(s.Context(), role); client.IgnoreAlreadyExists(err) != nil {
		s.Fatal(err)
	}
}

// checkWatch corrects the spec while "status -w" runs, which ends when the machine is
// Ready.
func (s *suite) checkWatch(u cliUser) {
	s.Helper()
	changed := make(chan struct{}, 1)
	out := &firstWrite{written: changed}
	done := make(chan int, 1)
	go func() {
		done <- u.runWith(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: &bytes.Buffer{}}, "status", "web", "-w")
	}()
	select {
	case <-changed: // The watch has shown the blocker.
	case code := <-done:
		s.Fatalf("the watch ended with exit code %d: %s", code, out.String())
	}
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Identity.ServiceAccountName = "" })
	code := <-done
	if text := out.String(); code != plugin.ExitAsDeclared || !strings.HasPrefix(text, "Accepted (ServiceAccountNotFound)") || !strings.Contains(text, "web is as declared") {
		s.Errorf("the exit code is %d, and the output:\n%s", code, text)
	}
}

// firstWrite is a buffer that reports the first write.
type firstWrite struct {
	bytes.Buffer
	written chan struct{}
}

func (f *firstWrite) Write(p []byte) (int, error) {
	n, err := f.Buffer.Write(p)
	select {
	case f.written <- struct{}{}:
	default:
	}
	return n, err
}

// TestCLITrace traces a connection. The user may edit the namespace and cannot read Jobs of the
// operator.
func TestCLITrace(t *testing.T) {
	s := start(t)
	s.installRBAC("aggregate_edit.yaml")
	u := s.viewer("meshvm-edit")
	pod := s.converge(s.web())
	u.want(plugin.ExitError, []string{"trace", "web", "--flows", "9"}, "spec.maxFlows")
	u.want(plugin.ExitError, []string{"trace", "missing"}, "MachineNotFound", "MeshedVirtualMachine missing does not exist")

	ended := make(chan string)
	go func() {
		code, out, errOut := u.run("trace", "web", "--port", "http", "-o", "html")
		ended <- fmt.Sprint(code, out, errOut)
	}()
	var list v1alpha1.ConnectionTraceList
	s.eventually("the trace is running", func() error {
		if err := s.List(s.Context(), &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		list.Items = slices.DeleteFunc(list.Items, func(o v1alpha1.ConnectionTrace) bool { return o.Spec.MeshedVirtualMachine != "web" })
		if len(list.Items) != 1 || list.Items[0].Status.StartTime.IsZero() {
			return fmt.Errorf("%d ConnectionTraces", len(list.Items))
		}
		return nil
	})
	s.endTracer(list.Items[0].UID, traceResult(t, pod.UID, "Traced", func(map[string]any) {}))
	out := <-ended
	for _, part := range []string{"<!DOCTYPE html>", "Reached the guest through the proxy", "Created ConnectionTrace web-", "the trace is running: open a connection"} {
		if !strings.Contains(out, part) {
			t.Errorf("the output does not contain %q:\n%s", part, out)
		}
	}
}
