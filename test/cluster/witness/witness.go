// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package witness observes the start of guests independently of the operator.
// It records the objects on the API server, and packet counters in the network
// namespace of each virt-launcher pod from its creation. It depends only on the
// operator's table and kinds.
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

// Event is an observed event.
type Event struct {
	// At is the local time of the observation.
	At time.Time
	// Revision is the resource version, which orders the changes of all objects
	// (KEP-5504). It is 0 for events that the kernel reported.
	Revision uint64
	// Object is the name of a pod or another object.
	Object string
	// UID is the UID of the pod.
	UID types.UID
	// The description of the event.
	What string
}

// Events that checks search for.
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

// Options configure a Witness.
type Options struct {
	// Kubeconfig is the path of an administrator's kubeconfig.
	Kubeconfig string
	// Namespace is the namespace of the guests.
	Namespace string
	// PID returns the ID of a process of a pod on this machine.
	PID func(podUID string) (int, error)
	// GuestPort is the port that is dialed until the guest responds. 0 disables
	// dialing.
	GuestPort uint16
	// GuestAnyway also dials before the rules are verified.
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

// kinds lists the watched kinds, pods first.
var kinds = []schema.GroupVersionResource{
	{Version: "v1", Resource: "pods"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	{Group: "meshvm.io", Version: "v1alpha1", Resource: "podnatconfigurations"},
	{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"},
	{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstancemigrations"},
}

// Start starts watching and returns when all existing objects have been listed.
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
		// The kinds are listed sequentially, because endpoints are evaluated only for
		// known pods.
		factory.Start(ctx.Done())
		if !cache.WaitForCacheSync(ctx.Done(), handled.HasSynced) {
			cancel()
			return nil, fmt.Errorf("cannot list %s", kind.Resource)
		}
	}
	return w, nil
}

// Stop stops watching.
func (w *Witness) Stop() {
	w.cancel()
	w.running.Wait()
}

// Events returns the recorded events in order.
func (w *Witness) Events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// Find returns the first event of a kind for a pod, or nil.
func (w *Witness) Find(uid types.UID, what string) *Event {
	events := w.Events()
	i := slices.IndexFunc(events, func(e Event) bool { return e.UID == uid && e.What == what })
	if i < 0 {
		return nil
	}
	return &events[i]
}

// Pods returns the observed virt-launcher pods, oldest first, without the pods
// that existed before Start.
func (w *Witness) Pods() []types.UID {
	var out []types.UID
	for _, e := range w.Events() {
		if e.What == Created {
			out = append(out, e.UID)
		}
	}
	return out
}

// Failed returns the reason why a pod's frames could not be counted, or nil.
func (w *Witness) Failed(uid types.UID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pods[uid].err
}

// Timeline returns the events with the milliseconds since the first event.
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

// Violations describes violations of the guarantee: frames before the rules
// were verified, a pod in a Service's endpoints before its rules were verified,
// and pods whose frames could not be counted.
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
			out = append(out, name+": was in the Service's endpoints before its rules were Programmed")
		}
	}
	return out
}

// Summary returns the frames of each pod that were counted before its rules
// were verified.
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
			fmt.Fprintf(&out, "%s: rules never verified; total %+v\n", name, c.seen)
		default:
			fmt.Fprintf(&out, "%s: before the rules were verified %+v, total %+v\n", name, *c.before, c.seen)
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

// change records an event if the value of a key has changed.
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
