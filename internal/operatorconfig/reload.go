// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

// lastReloadSuccessful is 1 if the current content of the file is in effect.
var lastReloadSuccessful = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "meshvm_configuration_last_reload_successful",
	Help: "Whether the current content of the operator's configuration file is valid and in effect (1), or the last valid configuration remains in effect (0).",
})

func init() {
	lastReloadSuccessful.Set(1)
	metrics.Registry.MustRegister(lastReloadSuccessful)
}

// Event reasons and the event action.
const (
	reasonInvalid = "InvalidConfiguration"
	reasonInForce = "ConfigurationChanged"
	reasonRestart = "RestartForConfiguration"
	actionReload  = "ReloadConfiguration"
)

// live contains the paths of the fields that take effect without a restart.
var live = map[string]bool{
	"audit.intervalSeconds":    true,
	"client.requestsPerSecond": true,
	"client.burst":             true,
	"logging.level":            true,
	"tls.profile":              true,
}

// Reloader watches the configuration file. It is a Runnable and runs on every
// replica. If a new file is invalid, the last valid configuration remains in
// effect, and the log, an event and a metric report the error.
type Reloader struct {
	// Path is the path of the file. The kubelet replaces the file through a
	// symbolic link.
	Path string
	// Env returns the environment variables that contain defaults.
	Env func(string) string
	// Current is the configuration in effect.
	Current *configv1alpha1.OperatorConfiguration
	// Apply applies the live fields of a new configuration.
	Apply func(*configv1alpha1.OperatorConfiguration)
	// Restart stops the manager, so that Kubernetes restarts it with the new
	// configuration.
	Restart func()
	// Log and Recorder report changes. Object is the manager's pod, to which
	// events refer. Without it, no events are recorded.
	Log      logr.Logger
	Recorder events.EventRecorder
	Object   *corev1.Pod

	seen []byte
}

// NeedLeaderElection returns false because every replica uses the file.
func (r *Reloader) NeedLeaderElection() bool { return false }

// Start watches the file until ctx is done.
func (r *Reloader) Start(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the operator's configuration: %w", err)
	}
	defer watcher.Close() //nolint:errcheck // The process ends.
	// The replacement of a file, for example through the kubelet's symbolic
	// link, is reported only for its directory.
	if err := watcher.Add(filepath.Dir(r.Path)); err != nil {
		return fmt.Errorf("watch the operator's configuration: %w", err)
	}
	// The file can have changed since it was loaded.
	r.reload()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			r.reload()
		case err := <-watcher.Errors:
			r.Log.Error(err, "The watch of the operator's configuration lost events")
			r.reload()
		}
	}
}

// reload reads the file and applies the changes.
func (r *Reloader) reload() {
	text, err := os.ReadFile(r.Path)
	if err == nil && bytes.Equal(text, r.seen) {
		return
	}
	r.seen = text
	var next *configv1alpha1.OperatorConfiguration
	if err == nil {
		next, err = Parse(text, r.Env)
	}
	if err != nil {
		lastReloadSuccessful.Set(0)
		r.Log.Error(err, "The new configuration is invalid. The last valid configuration remains in effect", "file", r.Path)
		r.event(corev1.EventTypeWarning, reasonInvalid, "the last valid configuration remains in effect: "+err.Error())
		return
	}
	lastReloadSuccessful.Set(1)
	changed := Changed(r.Current, next)
	if len(changed) == 0 {
		return
	}
	r.Current = next
	fields := strings.Join(changed, ", ")
	if slices.ContainsFunc(changed, func(path string) bool { return !live[path] }) {
		r.Log.Info("Restarting the manager with the new configuration", "changed", fields)
		r.event(corev1.EventTypeNormal, reasonRestart, "restarting the manager with the new configuration: "+fields)
		r.Restart()
		return
	}
	r.Apply(next)
	r.Log.Info("New configuration applied", "changed", fields)
	r.event(corev1.EventTypeNormal, reasonInForce, "new configuration applied: "+fields)
}

// event records an event. It truncates the note to the limit of the API server
// (k8s.io/kubernetes, pkg/apis/core/validation, noteLengthLimit).
func (r *Reloader) event(kind, reason, note string) {
	if r.Object == nil {
		return
	}
	const limit = 1000
	if len(note) > limit {
		note = note[:limit] + " ..."
	}
	r.Recorder.Eventf(r.Object, nil, kind, reason, actionReload, "%s", note)
}

// Changed returns the sorted paths of the fields that differ.
func Changed(a, b *configv1alpha1.OperatorConfiguration) []string {
	before, after := flatten(a), flatten(b)
	var out []string
	for path := range maps.Keys(union(before, after)) {
		if !reflect.DeepEqual(before[path], after[path]) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

func union(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// flatten returns all fields that are set, by path. A list is a single field.
func flatten(c *configv1alpha1.OperatorConfiguration) map[string]any {
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c)
	if err != nil { // impossible for this type
		panic(err)
	}
	delete(tree, "kind")
	delete(tree, "apiVersion")
	out := map[string]any{}
	var walk func(prefix string, m map[string]any)
	walk = func(prefix string, m map[string]any) {
		for name, value := range m {
			if inner, ok := value.(map[string]any); ok {
				walk(prefix+name+".", inner)
				continue
			}
			out[prefix+name] = value
		}
	}
	walk("", tree)
	return out
}

// Text returns the configuration as one line of JSON for the log.
func Text(c *configv1alpha1.OperatorConfiguration) string {
	text, err := json.Marshal(c)
	if err != nil { // impossible for this type
		panic(err)
	}
	return string(text)
}
