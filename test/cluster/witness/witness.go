// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package witness watches the start of guests from outside of the operator: what
// the API server reports, and what the kernel counts in each virt-launcher pod's
// network namespace from the moment that there is one. It knows nothing of the
// operator but its table and its kinds.
package witness

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Event is something that happened, as it was seen.
type Event struct {
	// At is when it was seen here.
	At time.Time
	// Revision is the API server's, which orders the changes of all objects
	// (KEP-5504); 0 of what the kernel reported.
	Revision uint64
	// Object is a pod or another object by name.
	Object string
	// UID is the pod's.
	UID types.UID
	// The description of the event.
	What string
}

// Events that checks look for.
const (
	Created      = "created"
	Watched      = "counters in place"
	Shut         = "rules written, not verified"
	Verified     = "rules verified: the gate is open"
	Programmed   = "Programmed"
	FirstFrame   = "first frame of the guest"
	GuestAnswers = "the guest answers"
	Ready        = "Ready"
	NotReady     = "not Ready"
	InEndpoints  = "in the Service's endpoints"
	OutEndpoints = "out of the Service's endpoints"
	Gone         = "gone"
	NATGone      = "PodNATConfiguration gone"
)

// Options describe what to watch.
type Options struct {
	// Kubeconfig is an administrator's.
	Kubeconfig string
	// Namespace is that of the guests.
	Namespace string
	// PID finds a process of a pod on this machine.
	PID func(podUID string) (int, error)
	// GuestPort is dialled until the guest answers; 0 for never.
	GuestPort uint16
	// GuestAnyway dials before the rules were verified too.
	GuestAnyway bool
}

// Witness collects events until it is stopped.
type Witness struct {
	options Options
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	events []Event
	last   map[string]string
	pods   map[types.UID]*counts
}

// kinds are those that are watched, pods first.
var kinds = []schema.GroupVersionResource{
	{Version: "v1", Resource: "pods"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	{Group: "meshvm.io", Version: "v1alpha1", Resource: "podnatconfigurations"},
	{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"},
	{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstancemigrations"},
}

// Start begins to watch and returns when all that was there before is known.
func Start(ctx context.Context, o Options) (*Witness, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Witness{options: o, cancel: cancel, last: map[string]string{}, pods: map[types.UID]*counts{}}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, o.Namespace, nil)
	for _, kind := range kinds {
		see := func(o any, old, gone bool) {
			if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if u, ok := o.(*unstructured.Unstructured); ok {
				w.see(ctx, kind.Resource, u, old, gone)
			}
		}
		handled, err := factory.ForResource(kind).Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc:    func(o any, initial bool) { see(o, initial, false) },
			UpdateFunc: func(_, o any) { see(o, false, false) },
			DeleteFunc: func(o any) { see(o, false, true) },
		})
		if err != nil {
			cancel()
			return nil, err
		}
		// One after another: endpoints report nothing without the pods.
		factory.Start(ctx.Done())
		if !cache.WaitForCacheSync(ctx.Done(), handled.HasSynced) {
			cancel()
			return nil, fmt.Errorf("no list of %s", kind.Resource)
		}
	}
	return w, nil
}

// Stop ends the watching.
func (w *Witness) Stop() {
	w.cancel()
	w.running.Wait()
}

// Events are those seen so far, in their order.
func (w *Witness) Events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// Find is the first event of that kind of a pod, nil if there was none.
func (w *Witness) Find(uid types.UID, what string) *Event {
	events := w.Events()
	i := slices.IndexFunc(events, func(e Event) bool { return e.UID == uid && e.What == what })
	if i < 0 {
		return nil
	}
	return &events[i]
}

// Pods are the virt-launcher pods seen, oldest first; those that were there before
// the witness are not counted.
func (w *Witness) Pods() []types.UID {
	var out []types.UID
	for _, e := range w.Events() {
		if e.What == Created {
			out = append(out, e.UID)
		}
	}
	return out
}

// Failed is why a pod's frames could not be counted, nil if they could so far.
func (w *Witness) Failed(uid types.UID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pods[uid].err
}

// Timeline prints the events with their milliseconds since the first.
func (w *Witness) Timeline(out io.Writer) error {
	events := w.Events()
	if len(events) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, e := range events {
		if _, err := fmt.Fprintf(t, "%7d ms\t%s\t%s\n", e.At.Sub(events[0].At).Milliseconds(), e.Object, e.What); err != nil {
			return err
		}
	}
	return t.Flush()
}

// Violations describes what went against the guarantee: frames before the rules were
// verified, a Service that had a pod before, a pod that was not counted.
func (w *Witness) Violations() []string {
	var out []string
	for _, uid := range w.Pods() {
		name := w.Find(uid, Created).Object
		w.mu.Lock()
		c := *w.pods[uid]
		w.mu.Unlock()
		if c.old {
			continue
		}
		switch {
		case c.err != nil:
			out = append(out, fmt.Sprintf("%s: not counted: %v", name, c.err))
		case c.before != nil && *c.before != (frames{}):
			out = append(out, fmt.Sprintf("%s: before its rules were verified: %+v", name, *c.before))
		case c.before == nil && c.seen != (frames{}):
			out = append(out, fmt.Sprintf("%s: without verified rules: %+v", name, c.seen))
		}
		programmed := w.Find(uid, Programmed)
		if e := w.Find(uid, InEndpoints); e != nil && (programmed == nil || e.Revision < programmed.Revision) {
			out = append(out, name+": was in the Service's endpoints before it was Programmed")
		}
	}
	return out
}

// Summary reports about each pod what was counted before its rules were verified.
func (w *Witness) Summary() string {
	var out strings.Builder
	for _, uid := range w.Pods() {
		name := w.Find(uid, Created).Object
		w.mu.Lock()
		c := *w.pods[uid]
		w.mu.Unlock()
		switch {
		case c.old:
		case c.before == nil:
			fmt.Fprintf(&out, "%s: rules never seen verified; in all %+v\n", name, c.seen)
		default:
			fmt.Fprintf(&out, "%s: before the rules were verified %+v, in all %+v\n", name, *c.before, c.seen)
		}
	}
	return out.String()
}

// note records an event.
func (w *Witness) note(e Event) {
	e.At = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// change records an event if the value of a key is another than before.
func (w *Witness) change(u *unstructured.Unstructured, uid types.UID, object, key, value string) {
	w.mu.Lock()
	before := w.last[key]
	w.last[key] = value
	w.mu.Unlock()
	if value == before || value == "" {
		return
	}
	revision, _ := strconv.ParseUint(u.GetResourceVersion(), 10, 64)
	w.note(Event{Revision: revision, Object: object, UID: uid, What: value})
}
