// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/trace"
)

// cleanupTimeout limits the deletion of the object after an interruption.
const cleanupTimeout = 5 * time.Second

// traceMachine creates a ConnectionTrace, prints its progress, and returns its result. An
// interruption deletes the object, which ends the trace.
func (v *verb) traceMachine(ctx context.Context, machine string) (*trace.Result, error) {
	c, namespace, err := v.Connect()
	if err != nil {
		return nil, err
	}
	o, err := v.object(namespace, machine)
	if err != nil {
		return nil, err
	}
	if err := c.Create(ctx, o); err != nil {
		return nil, fmt.Errorf("create a ConnectionTrace: %w", err)
	}
	fmt.Fprintf(v.ErrOut, "Created ConnectionTrace %s in namespace %s.\n", o.Name, o.Namespace)
	if err := v.follow(ctx, c, o); err != nil {
		return nil, errors.Join(err, end(ctx, c, o))
	}
	return resultOf(o)
}

// end deletes the object, also after the context has ended.
func end(ctx context.Context, c client.Client, o *v1alpha1.ConnectionTrace) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := client.IgnoreNotFound(c.Delete(ctx, o)); err != nil {
		return fmt.Errorf("delete ConnectionTrace %s: %w", o.Name, err)
	}
	return nil
}

// follow prints the progress until the trace is complete.
func (v *verb) follow(ctx context.Context, c client.WithWatch, o *v1alpha1.ConnectionTrace) error {
	last := ""
	for {
		done, err := v.followOnce(ctx, c, o, &last)
		if done || err != nil {
			return err
		}
	}
}

// followOnce watches the object until the API server ends the watch, as it does after some
// minutes.
func (v *verb) followOnce(ctx context.Context, c client.WithWatch, o *v1alpha1.ConnectionTrace, last *string) (done bool, err error) {
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return false, fmt.Errorf("read ConnectionTrace %s: %w", o.Name, err)
	}
	if v.progress(o, last) {
		return true, nil
	}
	w, err := c.Watch(ctx, &v1alpha1.ConnectionTraceList{}, client.InNamespace(o.Namespace), &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, o.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: o.ResourceVersion},
	})
	if err != nil {
		return false, fmt.Errorf("watch ConnectionTrace %s: %w", o.Name, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error {
				return false, nil
			}
			if got, ok := e.Object.(*v1alpha1.ConnectionTrace); ok {
				*o = *got
			}
			if e.Type == watch.Deleted {
				return false, fmt.Errorf("ConnectionTrace %s was deleted", o.Name)
			}
			if v.progress(o, last) {
				return true, nil
			}
		}
	}
}

// progress prints the message of the condition Complete if it changed, and reports whether
// the trace is complete. It prints to the error stream, so that the output contains only
// the result.
func (v *verb) progress(o *v1alpha1.ConnectionTrace, last *string) (done bool) {
	complete := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionComplete))
	if complete == nil {
		return false
	}
	if complete.Status == metav1.ConditionTrue {
		return true
	}
	if complete.Message != *last {
		fmt.Fprintf(v.ErrOut, "%s\n", complete.Message)
		*last = complete.Message
	}
	return false
}

// resultOf returns the result of a trace that is complete.
func resultOf(o *v1alpha1.ConnectionTrace) (*trace.Result, error) {
	if o.Status.Result != "" {
		r, err := trace.DecodeResult([]byte(o.Status.Result))
		if err != nil {
			return nil, fmt.Errorf("ConnectionTrace %s: %w", o.Name, err)
		}
		return &r, nil
	}
	complete := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionComplete))
	return nil, fmt.Errorf("ConnectionTrace %s has no result (%s): %s", o.Name, complete.Reason, complete.Message)
}

// object returns the ConnectionTrace for the flags.
func (v *verb) object(namespace, machine string) (*v1alpha1.ConnectionTrace, error) {
	o := &v1alpha1.ConnectionTrace{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: machine + "-"},
		Spec: v1alpha1.ConnectionTraceSpec{
			MeshedVirtualMachine: machine, Role: v1alpha1.PodRole(v.role),
			DurationSeconds: int32(min(v.duration, time.Hour).Seconds()), MaxFlows: v.flows,
			Flow: v1alpha1.TracedFlow{
				Port: v.port, From: v1alpha1.TraceOrigin(v.from), Protocol: v1alpha1.TraceProtocol(v.protocol),
			},
		},
	}
	f := &o.Spec.Flow
	if v.duration < time.Second {
		return nil, fmt.Errorf("--duration %s is less than 1s", v.duration)
	}
	var errs [2]error
	f.Source, f.SourcePort, errs[0] = endpoint("--source", v.source)
	f.Destination, f.DestinationPort, errs[1] = endpoint("--to", v.to)
	return o, cmp.Or(errs[0], errs[1])
}
