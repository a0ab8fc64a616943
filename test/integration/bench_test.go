// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/controllers/meshedvirtualmachine"
	"meshvm.io/meshvm/controllers/podnatconfiguration"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/meshpolicy"
	"meshvm.io/meshvm/internal/rulejob"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/test/testenv"
)

// crowd is a namespace with guests, and the controllers that manage them.
type crowd struct {
	*testing.B
	client.Client
	namespace string
	size      int
	calls     *recorder
	mvm, nat  reconcile.Reconciler
	// natName is the PodNATConfiguration of the first guest.
	natName string
}

// BenchmarkReconcile reconciles one of many objects of a namespace when nothing has
// changed. The time and the allocations must not depend on the number of objects.
func BenchmarkReconcile(b *testing.B) {
	// The Service network of envtest has addresses for 254 Services.
	env := testenv.Start(b, testenv.Options{KubeVirt: true, Istio: true, ServiceNetworks: "10.0.0.0/16"})
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprintf("objects=%d", size), func(b *testing.B) {
			c := newCrowd(b, env, size)
			for _, kind := range []struct {
				name       string
				reconciler reconcile.Reconciler
				object     string
			}{{"MeshedVirtualMachine", c.mvm, guestName(0)}, {"PodNATConfiguration", c.nat, c.natName}} {
				b.Run(kind.name, func(b *testing.B) {
					c.calls.reset(nil)
					request := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: c.namespace, Name: kind.object}}
					b.ReportAllocs()
					for b.Loop() {
						if _, err := kind.reconciler.Reconcile(b.Context(), request); err != nil {
							b.Fatal(err)
						}
					}
					b.StopTimer()
					if table := c.calls.table(); table != "" {
						b.Errorf("API calls without changes:\n%s", table)
					}
				})
			}
		})
	}
}

func guestName(i int) string { return fmt.Sprintf("guest-%d", i) }

// newCrowd starts the controllers and waits until the given number of guests have all
// their objects. The guests run on a node that does not respond, so that no rule-writer
// is needed.
func newCrowd(b *testing.B, env *testenv.Env, size int) *crowd {
	b.Helper()
	c := &crowd{B: b, Client: env.Client, namespace: fmt.Sprintf("crowd-%d-%d", size, namespaces.Add(1)), size: size, calls: &recorder{}}
	for _, name := range []string{operatorNamespace, c.namespace} {
		if err := c.Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); client.IgnoreAlreadyExists(err) != nil {
			b.Fatal(err)
		}
	}
	cfg := rest.CopyConfig(env.Config)
	cfg.Wrap(c.calls.wrap)
	before := c.startControllers(cfg)
	begin := time.Now()
	c.each(func(ctx context.Context, i int) error {
		o := builders.MVM(guestName(i)).Namespace(c.namespace).Ports(builders.HTTP("http", 80, 8080), builders.Direct("ssh", 22)).Obj()
		o.UID, o.Generation = "", 0 // The API server sets these.
		return c.Create(ctx, o)
	})
	c.each(c.startGuest)
	c.await()
	handled := reconcileCount(b) - before
	b.Logf("%d guests: %s, %.1f reconciles per guest, calls:\n%s", size, time.Since(begin).Round(time.Second), handled/float64(size), c.calls.table())
	return c
}

// startControllers returns the number of reconciles that this process has already
// counted.
func (c *crowd) startControllers(cfg *rest.Config) float64 {
	c.Helper()
	mgr := emptyManager(c, cfg, logr.Discard())
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context()))
	recorder := &events.FakeRecorder{} // Without a channel, it drops the events.
	mvm := &meshedvirtualmachine.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Recorder: recorder,
		Applier:       apply.Applier{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()},
		ClusterDomain: v1alpha1.DefaultClusterDomain, RootNamespace: meshpolicy.DefaultRootNamespace,
		Cluster: controllers.Options{}.Cluster(mgr.GetClient()),
	}
	nat := &podnatconfiguration.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Recorder: recorder, Now: time.Now,
		Jobs:   rulejob.Config{Namespace: operatorNamespace, Image: "localhost/meshvm/rule-writer:dev", ServiceAccount: "meshvm-rule-writer"},
		Limits: func() drift.Limits { return drift.DefaultLimits(0) },
	}
	const workers = 4
	if err := errors.Join(cacheindex.Add(ctx, mgr.GetFieldIndexer()), mvm.SetupWithManager(mgr, workers), nat.SetupWithManager(mgr, workers)); err != nil {
		c.Fatal(err)
	}
	c.mvm, c.nat = mvm, nat
	before := reconcileCount(c.B)
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	c.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.Errorf("the controllers exited with: %v", err)
		}
	})
	return before
}

// each calls a function for every guest, several at a time.
func (c *crowd) each(f func(ctx context.Context, i int) error) {
	c.Helper()
	const workers = 8
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < c.size; i += workers {
				if err := f(c.Context(), i); err != nil {
					c.Errorf("%s: %v", guestName(i), err)
					return
				}
			}
		})
	}
	group.Wait()
	if c.Failed() {
		c.FailNow()
	}
}

// startGuest simulates KubeVirt for a guest as suite.startGuest does.
func (c *crowd) startGuest(ctx context.Context, i int) error {
	vm := &kubevirtv1.VirtualMachine{}
	key := client.ObjectKey{Namespace: c.namespace, Name: guestName(i)}
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Minute, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, key, vm)
		return err == nil, client.IgnoreNotFound(err)
	}); err != nil {
		return fmt.Errorf("wait for VirtualMachine %s: %w", key.Name, err)
	}
	vmi := &kubevirtv1.VirtualMachineInstance{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.namespace, Name: vm.Name, Labels: vm.Spec.Template.ObjectMeta.Labels, Annotations: vm.Spec.Template.ObjectMeta.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vm, kubevirtv1.VirtualMachineGroupVersionKind)},
		},
		Spec: vm.Spec.Template.Spec,
		Status: kubevirtv1.VirtualMachineInstanceStatus{
			Phase: kubevirtv1.Running, NodeName: "lost-node",
			Interfaces: []kubevirtv1.VirtualMachineInstanceNetworkInterface{{Name: "default", PodInterfaceName: "eth0"}},
		},
	}
	if err := c.Create(ctx, vmi); err != nil {
		return err
	}
	labels := maps.Clone(vmi.Labels)
	maps.Copy(labels, map[string]string{kubevirtv1.AppLabel: "virt-launcher", kubevirtv1.CreatedByLabel: string(vmi.UID)})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.namespace, Name: "virt-launcher-" + vm.Name + "-abcde", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vmi, kubevirtv1.VirtualMachineInstanceGroupVersionKind)},
		},
		Spec: corev1.PodSpec{NodeName: "lost-node", Containers: []corev1.Container{
			{Name: "compute", Image: "localhost/launcher"}, {Name: "istio-proxy", Image: "localhost/proxyv2"},
		}},
	}
	if err := c.Create(ctx, pod); err != nil {
		return err
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.244.0.7", PodIPs: []corev1.PodIP{{IP: "10.244.0.7"}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		},
	}
	return c.Status().Update(ctx, pod)
}

// await waits until every guest has a PodNATConfiguration with a status, and no
// reconcile has ended for two seconds.
func (c *crowd) await() {
	c.Helper()
	last, since, done := 0.0, time.Now(), 0
	err := wait.PollUntilContextTimeout(c.Context(), 200*time.Millisecond, 10*time.Minute, true, func(ctx context.Context) (bool, error) {
		if n := reconcileCount(c.B); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return false, nil
		}
		var nats v1alpha1.PodNATConfigurationList
		if err := c.List(ctx, &nats, client.InNamespace(c.namespace)); err != nil {
			return false, err
		}
		done = 0
		for i := range nats.Items {
			if n := &nats.Items[i]; len(n.Status.Conditions) > 0 {
				done++
			}
			if nats.Items[i].Labels[v1alpha1.LabelMeshedVirtualMachine] == guestName(0) {
				c.natName = nats.Items[i].Name
			}
		}
		return done == c.size && c.natName != "", nil
	})
	if err != nil {
		c.Fatalf("%d of %d guests have a PodNATConfiguration with a status: %v", done, c.size, err)
	}
}
