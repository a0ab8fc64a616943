// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

// process is the manager's program on an API server, with only the permissions
// in config/.
type process struct {
	*testing.T
	env     *testenv.Env
	dir     string
	version int
	// The addresses of its servers.
	metrics, webhook, health string
	command                  *exec.Cmd
	log                      *logBuffer
	ended                    chan error
}

// logBuffer is written by the process and read by the test.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// configure replaces the manager's file like the kubelet.
func (p *process) configure(text string) {
	p.Helper()
	p.version++
	name := fmt.Sprintf("..%d", p.version)
	text = "apiVersion: config.meshvm.io/v1alpha1\nkind: OperatorConfiguration\n" + text
	err := errors.Join(
		os.Mkdir(filepath.Join(p.dir, name), 0o700),
		os.WriteFile(filepath.Join(p.dir, name, "config.yaml"), []byte(text), 0o600),
		os.Symlink(name, filepath.Join(p.dir, "..data_tmp")),
		os.Rename(filepath.Join(p.dir, "..data_tmp"), filepath.Join(p.dir, "..data")),
	)
	if err != nil {
		p.Fatal(err)
	}
	if err := os.Symlink("..data/config.yaml", filepath.Join(p.dir, "config.yaml")); err != nil && !os.IsExist(err) {
		p.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// apply installs the manifests of directories or files below config/.
func (p *process) apply(paths ...string) {
	p.Helper()
	for _, path := range paths {
		files, err := filepath.Glob(filepath.Join(testenv.Root(), "config", path))
		if err != nil || len(files) == 0 {
			p.Fatalf("config/%s: %v, %d files", path, err, len(files))
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				p.Fatal(err)
			}
			d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
			for {
				o := &unstructured.Unstructured{}
				if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					p.Fatal(err)
				}
				if len(o.Object) == 0 || o.GetKind() == "Kustomization" {
					continue
				}
				if err := p.env.Client.Create(p.Context(), o); err != nil {
					p.Fatalf("%s: %v", file, err)
				}
			}
		}
	}
}

// awaitPermission waits until the API server knows that the manager has a permission.
func (p *process) awaitPermission(a authorizationv1.ResourceAttributes) {
	p.Helper()
	p.eventually("the manager can "+a.Verb+" "+a.Resource, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: p.user(), Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &a,
		}}
		if err := p.env.Client.Create(p.Context(), review); err != nil {
			return err
		}
		if !review.Status.Allowed {
			return errors.New("it is not allowed")
		}
		return nil
	})
}

// user is the user name of the manager's service account.
func (p *process) user() string {
	return "system:serviceaccount:" + operatorNamespace + ":meshvm-controller-manager"
}

// newProcess compiles the manager and installs it in a cluster, without the
// permissions that only OpenShift needs.
func newProcess(t *testing.T) *process {
	t.Helper()
	p := &process{T: t, env: testenv.Start(t, testenv.Options{}), dir: t.TempDir(), log: &logBuffer{}, ended: make(chan error, 1)}
	program := filepath.Join(t.TempDir(), "manager")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/manager")
	build.Dir = testenv.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := p.env.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}); err != nil {
		t.Fatal(err)
	}
	p.apply("rbac/*.yaml", "webhook/*.yaml", "metrics/*.yaml")
	for _, a := range []authorizationv1.ResourceAttributes{
		{Group: "meshvm.io", Resource: "meshedvirtualmachines", Verb: "list"},
		{Namespace: operatorNamespace, Group: "coordination.k8s.io", Resource: "leases", Verb: "create"},
		{Group: "authentication.k8s.io", Resource: "tokenreviews", Verb: "create"},
	} {
		p.awaitPermission(a)
	}
	kubeconfig, err := p.env.Kubeconfig(p.user())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	p.metrics, p.webhook, p.health = loopback(freePort(t)), loopback(freePort(t)), loopback(freePort(t))
	p.command = exec.CommandContext(context.WithoutCancel(t.Context()), program, "--config="+filepath.Join(p.dir, "config.yaml"))
	p.command.Env = []string{
		"KUBECONFIG=" + file, "OPERATOR_NAMESPACE=" + operatorNamespace, "POD_NAME=manager-0",
		"CONTAINER_MEMORY_LIMIT=536870912",
		"GODEBUG=" + os.Getenv("MESHVM_MANAGER_GODEBUG"), // for example fips140=on
		"RULE_WRITER_IMAGE=localhost/rule-writer:1", "TRACER_IMAGE=localhost/tracer:1", "RULE_WRITER_SERVICE_ACCOUNT=meshvm-rule-writer",
	}
	p.command.Stdout, p.command.Stderr = p.log, p.log
	return p
}

// start runs the manager with a configuration and waits until it is ready.
func (p *process) start(configuration string) {
	p.Helper()
	p.configure(configuration)
	if err := p.command.Start(); err != nil {
		p.Fatal(err)
	}
	go func() { p.ended <- p.command.Wait() }()
	p.Cleanup(func() {
		_ = p.command.Process.Kill() // It may have exited.
		for line := range strings.Lines(p.log.String()) {
			if key := duplicateKey(line); key != "" {
				p.Errorf("the key %q occurs twice in the line %s", key, line)
			}
		}
		if p.Failed() {
			p.Logf("the manager's log:\n%s", p.log)
		}
	})
	p.eventually("the manager is ready", func() error {
		r, err := http.Get("http://" + p.health + "/readyz")
		if err != nil {
			return err
		}
		defer r.Body.Close() //nolint:errcheck // only read
		if r.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(r.Body)
			return fmt.Errorf("%s", text)
		}
		return nil
	})
}

// servers returns a configuration with the ports of this test.
func (p *process) servers() string {
	return fmt.Sprintf("metrics: {bindAddress: %q}\nwebhook: {bindAddress: %q}\nhealth: {bindAddress: %q}\n", p.metrics, p.webhook, p.health)
}

func (p *process) eventually(what string, check func() error) {
	p.Helper()
	deadline := time.Now().Add(waitTimeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("waited %s until %s: %v", waitTimeout, what, err)
		}
		select {
		case err := <-p.ended:
			p.Fatalf("the manager exited before %s: %v", what, err)
		case <-time.After(50 * time.Millisecond): // The manager is another process.
		}
	}
}

// get requests /metrics with at most the given TLS version.
func (p *process) get(token string, most uint16) (int, string, error) {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MaxVersion: most}, //nolint:gosec // The server's certificate is its own.
	}}
	r, err := http.NewRequestWithContext(p.Context(), http.MethodGet, "https://"+p.metrics+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// token creates a service account and a token for it.
func (p *process) token(name string) string {
	p.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}}
	if err := p.env.Client.Create(p.Context(), account); err != nil {
		p.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{}
	if err := p.env.Client.SubResource("token").Create(p.Context(), account, request); err != nil {
		p.Fatal(err)
	}
	return request.Status.Token
}

// event waits for an event about the manager's pod.
func (p *process) event(reason, note string) {
	p.Helper()
	p.eventually("an event exists with "+reason, func() error {
		var list eventsv1.EventList
		if err := p.env.Client.List(p.Context(), &list, client.InNamespace(operatorNamespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.Regarding.Name == "manager-0" && strings.Contains(e.Note, note) {
				return nil
			}
		}
		return fmt.Errorf("%d others", len(list.Items))
	})
}

// TestManagerProgram runs the program and checks the access to its metrics, its
// TLS settings, and the effect of configuration changes.
func TestManagerProgram(t *testing.T) {
	p := newProcess(t)
	p.apply("openshift/tls_profile_role.yaml")
	p.awaitPermission(tlsProfile)
	p.start(p.servers())

	// Only authorized clients can read the metrics.
	stranger, reader := p.token("stranger"), p.token("reader")
	if err := p.env.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "meshvm-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: "reader"}},
	}); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"": http.StatusUnauthorized, stranger: http.StatusForbidden} {
		// The manager is ready before its metrics are served.
		p.eventually(fmt.Sprintf("metrics with a token of %d characters", len(token)), func() error {
			status, _, err := p.get(token, 0)
			if err == nil && status != want {
				err = fmt.Errorf("status %d, want %d", status, want)
			}
			return err
		})
	}
	// The filter reports an error for a token that was not issued.
	if status, _, err := p.get("nonsense", 0); err != nil || status == http.StatusOK {
		t.Errorf("metrics for a token that was not issued: %d, %v", status, err)
	}
	metric := func(want string) {
		t.Helper()
		p.eventually("the metrics contain "+want, func() error {
			status, text, err := p.get(reader, 0)
			if err != nil || status != http.StatusOK || !strings.Contains(text, want+"\n") {
				return fmt.Errorf("status %d, %d bytes, %w", status, len(text), err)
			}
			return nil
		})
	}
	metric("meshvm_configuration_last_reload_successful 1")
	metric("go_gc_gomemlimit_bytes 4.8318381e+08")

	p.followsTLSProfile()

	p.configure(p.servers() + "audit: {intervalSeconds: 5}\n")
	p.event("InvalidConfiguration", "audit.intervalSeconds")
	metric("meshvm_configuration_last_reload_successful 0")
	p.configure(p.servers() + "audit: {intervalSeconds: 50}\nlogging: {level: Debug}\n")
	p.event("ConfigurationChanged", "audit.intervalSeconds, logging.level")
	metric("meshvm_configuration_last_reload_successful 1")
	p.eventually("the manager logs debug messages", func() error {
		if !strings.Contains(p.log.String(), `"level":"debug"`) {
			return errors.New("none yet")
		}
		return nil
	})

	// A change that requires a restart makes the manager exit without an error
	// and release its lease.
	p.configure(p.servers() + "controllers: {workers: 2}\n")
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("the manager exited with: %v", err)
		}
	case <-time.After(waitTimeout):
		t.Fatal("the manager did not exit because of its new configuration")
	}
	p.ended <- nil
	p.event("RestartForConfiguration", "controllers.workers")
	var lease coordinationv1.Lease
	if err := p.env.Client.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "manager.meshvm.io"}, &lease); err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
		t.Errorf("the lease is still held by %q", *lease.Spec.HolderIdentity)
	}
	if strings.Contains(p.log.String(), "forbidden") {
		t.Errorf("the permissions in config/ are not sufficient:\n%s", p.log)
	}
}
