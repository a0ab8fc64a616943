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

// lastReloadSuccessful is 1 when the file is in force as it is.
var lastReloadSuccessful = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "meshvm_configuration_last_reload_successful",
	Help: "Whether the operator's configuration file is valid and in force (1), or the last valid one goes on (0).",
})

func init() {
	lastReloadSuccessful.Set(1)
	metrics.Registry.MustRegister(lastReloadSuccessful)
}

// Event reasons and their action.
const (
	reasonInvalid = "InvalidConfiguration"
	reasonInForce = "ConfigurationChanged"
	reasonRestart = "RestartForConfiguration"
	actionReload  = "ReloadConfiguration"
)

// live are the fields, by their path, that take effect while the manager runs.
var live = map[string]bool{
	"audit.intervalSeconds":    true,
	"client.requestsPerSecond": true,
	"client.burst":             true,
	"logging.level":            true,
	"tls.profile":              true,
}

// Reloader is a Runnable, on every replica, that watches the configuration's
// file. A new file that is not valid changes nothing: the last valid one goes
// on, and log, event and metric say so.
type Reloader struct {
	// Path is the file; the kubelet changes it through a symbolic link.
	Path string
	// Env is the environment that defaults come from.
	Env func(string) string
	// Current is the configuration in force.
	Current *configv1alpha1.OperatorConfiguration
	// Apply puts the live fields of a new configuration in force.
	Apply func(*configv1alpha1.OperatorConfiguration)
	// Restart ends the manager, so that it is started with the new file.
	Restart func()
	// Log, Recorder and Object say what happened; events are about Object,
	// the manager's own pod, if there is one.
	Log      logr.Logger
	Recorder events.EventRecorder
	Object   *corev1.Pod

	seen []byte
}

// NeedLeaderElection says that every replica has the file.
func (r *Reloader) NeedLeaderElection() bool { return false }

// Start watches the file until ctx ends.
func (r *Reloader) Start(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the operator's configuration: %w", err)
	}
	defer watcher.Close() //nolint:errcheck // The process ends.
	// A file that is replaced, as through the kubelet's link, is only seen in
	// its directory.
	if err := watcher.Add(filepath.Dir(r.Path)); err != nil {
		return fmt.Errorf("watch the operator's configuration: %w", err)
	}
	// It may have changed since it was loaded.
	r.look()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			r.look()
		case err := <-watcher.Errors:
			r.Log.Error(err, "The watch of the operator's configuration missed something")
			r.look()
		}
	}
}

// look reads the file and acts on what is new in it.
func (r *Reloader) look() {
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
		r.Log.Error(err, "The operator's new configuration is not valid: the last valid one goes on", "file", r.Path)
		r.event(corev1.EventTypeWarning, reasonInvalid, "the last valid configuration goes on: "+err.Error())
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
		r.Log.Info("The manager ends to be started with its new configuration", "changed", fields)
		r.event(corev1.EventTypeNormal, reasonRestart, "the manager ends to be started with its new configuration: "+fields)
		r.Restart()
		return
	}
	r.Apply(next)
	r.Log.Info("The new configuration is in force", "changed", fields)
	r.event(corev1.EventTypeNormal, reasonInForce, "the new configuration is in force: "+fields)
}

// event is at most as long as the API server takes (k8s.io/kubernetes,
// pkg/apis/core/validation, noteLengthLimit).
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

// Changed are the paths of the fields that differ, sorted.
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

// flatten has every field that is set by its path; a list is one field.
func flatten(c *configv1alpha1.OperatorConfiguration) map[string]any {
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c)
	if err != nil { // Its types are ours.
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

// Text is the configuration as one line, for the log.
func Text(c *configv1alpha1.OperatorConfiguration) string {
	text, err := json.Marshal(c)
	if err != nil { // Its types are ours.
		panic(err)
	}
	return string(text)
}
