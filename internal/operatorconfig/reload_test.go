// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

// write replaces the file like the kubelet does for a ConfigMap: it creates a
// new directory and changes the symbolic link ..data to it.
func write(t *testing.T, dir string, version int, text string) {
	t.Helper()
	name := fmt.Sprintf("..%d", version)
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, name), 0o700),
		os.WriteFile(filepath.Join(dir, name, "config.yaml"), []byte(text), 0o600),
		os.Symlink(name, filepath.Join(dir, "..data_tmp")),
		os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..data/config.yaml", filepath.Join(dir, "config.yaml")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 0, header)
	path := filepath.Join(dir, "config.yaml")
	current, err := Load(path, environment)
	if err != nil {
		t.Fatal(err)
	}
	recorder := events.NewFakeRecorder(10)
	applied, restarted := make(chan *configv1alpha1.OperatorConfiguration, 10), make(chan bool, 10)
	r := &Reloader{
		Path: path, Env: environment, Current: current, Log: logr.Discard(), Recorder: recorder,
		Object:  &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "meshvm-system", Name: "manager"}},
		Apply:   func(c *configv1alpha1.OperatorConfiguration) { applied <- c },
		Restart: func() { restarted <- true },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Start(ctx) }()
	event := func(parts ...string) {
		t.Helper()
		select {
		case got := <-recorder.Events:
			for _, part := range parts {
				if !strings.Contains(got, part) {
					t.Errorf("event %q does not contain %q", got, part)
				}
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("no event with %q", parts)
		}
	}

	write(t, dir, 1, header+"audit: {intervalSeconds: 20}\nlogging: {level: Debug}")
	event("Normal", reasonInForce, "audit.intervalSeconds, logging.level")
	if c := <-applied; *c.Audit.IntervalSeconds != 20 || c.Logging.Level != configv1alpha1.LogDebug {
		t.Errorf("applied %s", Text(c))
	}

	write(t, dir, 2, header+"audit: {intervalSeconds: 1}")
	event("Warning", reasonInvalid, "the last valid configuration remains in effect", "audit.intervalSeconds", "at least 10")
	if got := testutil.ToFloat64(lastReloadSuccessful); got != 0 {
		t.Errorf("metric is %v while the file is invalid, want 0", got)
	}

	// The configuration in effect is restored, so nothing changes.
	write(t, dir, 3, header+"logging: {level: Debug}\naudit: {intervalSeconds: 20}")
	write(t, dir, 4, header+"logging: {level: Debug}\naudit: {intervalSeconds: 20}\ncontrollers: {workers: 8}")
	event("Normal", reasonRestart, "controllers.workers")
	<-restarted
	if got := testutil.ToFloat64(lastReloadSuccessful); got != 1 {
		t.Errorf("metric is %v after the file was corrected, want 1", got)
	}
	if len(applied) > 0 || len(restarted) > 0 || len(recorder.Events) > 0 {
		t.Errorf("%d applied, %d restarts, %d events that were not expected", len(applied), len(restarted), len(recorder.Events))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLiveFields compares the list of live fields with the documentation.
func TestLiveFields(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api/operatorconfiguration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for row := range strings.Lines(string(doc)) {
		path, ok := strings.CutPrefix(row, "| `")
		if !ok {
			continue
		}
		path, _, _ = strings.Cut(path, "`")
		documented[path] = true
		if said := strings.HasSuffix(strings.TrimSpace(row), " Live. |"); said != live[path] {
			t.Errorf("%s is live: documented %t, implemented %t", path, said, live[path])
		}
	}
	for path := range live {
		if !documented[path] {
			t.Errorf("%s is not documented", path)
		}
	}
}

func TestRateLimiter(t *testing.T) {
	var r RateLimiter
	r.Set(configv1alpha1.Client{RequestsPerSecond: ptr.To[int32](0)})
	for range 1000 {
		if !r.TryAccept() {
			t.Fatal("request rejected without a limit")
		}
	}
	r.Set(configv1alpha1.Client{RequestsPerSecond: ptr.To[int32](1), Burst: 2})
	for n := range 3 {
		if got, want := r.TryAccept(), n < 2; got != want {
			t.Errorf("request %d of a burst of 2 accepted: %t, want %t", n, got, want)
		}
	}
	if r.QPS() != 1 {
		t.Errorf("%v requests per second, want 1", r.QPS())
	}
}

func TestLevel(t *testing.T) {
	order := []configv1alpha1.LogLevel{configv1alpha1.LogTrace, configv1alpha1.LogDebug, configv1alpha1.LogInfo, configv1alpha1.LogError}
	if !slices.IsSortedFunc(order, func(a, b configv1alpha1.LogLevel) int { return int(Level(a)) - int(Level(b)) }) || Level(configv1alpha1.LogInfo) != zapcore.InfoLevel {
		t.Error("log levels are not in order")
	}
}
