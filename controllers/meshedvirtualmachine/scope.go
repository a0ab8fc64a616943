// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshservice"
	"meshvm.io/meshvm/internal/sharedlists"
	"meshvm.io/meshvm/internal/validate"
)

// scope contains the input of one reconcile. The steps fill it in the order of
// its fields. The status is computed from it alone.
type scope struct {
	// mvm is the object to be written. before is the object as it was read.
	mvm, before *v1alpha1.MeshedVirtualMachine

	// gate specifies how the operator delays the start of guests.
	gate children.StartGate
	// clusterDomain is the DNS domain of the cluster, and rootNamespace the root
	// namespace of Istio.
	clusterDomain, rootNamespace string
	// paused is set when a user has paused the operator for this object.
	paused bool
	// vmBlocked is set while the VirtualMachine is not created because objects
	// that it needs could not be applied.
	vmBlocked bool
	// dependenciesKnown is set when the operator knows which kinds are served.
	dependenciesKnown bool
	// missing is the first kind of another project that is not served.
	// retrySoon is set when its CRD exists, so that the kind may be served soon.
	missing   *dependency
	retrySoon bool
	// unread is a kind that the operator could not list.
	unread *dependency
	// invalid is the reason why the spec is not accepted.
	invalid *validate.Invalid

	// adoption is the state of an existing VirtualMachine.
	adoption adoption

	// vmi is the running guest, nil when none exists. foreign is set when it belongs
	// to a VirtualMachine that the object does not control. It is then nil as well
	// unless a pod of it already has rules of the object.
	vmi     *kubevirtv1.VirtualMachineInstance
	foreign bool
	// pods are the live launcher pods, oldest first. They are valid when
	// podsKnown is set.
	pods      []corev1.Pod
	podsKnown bool
	// strays are VirtualMachineInstances that have the object's label but are not
	// its guest, sorted by name. They are nil until they were read.
	strays []*unstructured.Unstructured
	// nats are the PodNATConfigurations by pod UID. They are nil until they were read.
	nats map[types.UID]v1alpha1.PodNATConfiguration

	// service is the Service with all of its members. It is valid when serviceKnown is
	// set.
	service      meshservice.Service
	serviceKnown bool
	// selectedStrays is set if the Service selects a pod of a stray.
	selectedStrays bool

	// children are the objects as found or written, and failures the errors of
	// those that could not be applied.
	children map[apply.Key]*unstructured.Unstructured
	failures map[apply.Key]error
	// versions are the versions of the projects that define kinds with fields that
	// the cluster does not know.
	versions map[schema.GroupKind]string
	// unavailable are the optional kinds that the operator cannot read.
	unavailable map[schema.GroupKind]*unavailable
	// policies are the PeerAuthentications that can apply to the pods, and
	// authorization the AuthorizationPolicies.
	policies      []*securityv1.PeerAuthentication
	authorization []*securityv1.AuthorizationPolicy
	// telemetries are the Telemetry objects of the namespace that can select the pods.
	telemetries []*telemetryv1.Telemetry
	// rootUnconfirmed is set when Istio's root namespace contains no Service of istiod.
	rootUnconfirmed bool
	// routes and rules are the VirtualServices and DestinationRules of the namespace.
	routes []*networkingv1.VirtualService
	rules  []*networkingv1.DestinationRule
	// sidecars are the Sidecars of the namespace that can select the pods, if the spec
	// limits outbound connections. entries are the ServiceEntries of the namespace that can
	// have the host of the Service.
	sidecars []*networkingv1.Sidecar
	entries  []*networkingv1.ServiceEntry
	// gateways are the existing Gateways that the lead of the Service names, by
	// NAMESPACE/NAME. They are nil if the lead names none or they were not read.
	gateways map[string]*networkingv1.Gateway
	// vm is the VirtualMachine as found or written, nil when none exists.
	vm *kubevirtv1.VirtualMachine

	// lists is the result of merging the lists of the VirtualMachine. differences are
	// the entries that other clients changed, and managed are the managed fields of
	// the VirtualMachine if there are any.
	lists       sharedlists.Result
	differences []sharedlists.Difference
	managed     []metav1.ManagedFieldsEntry

	// guestPods are derived from pods, nats and failures (describePods).
	guestPods []guestPod
	// waits are the reasons why an object that is being deleted does not release its
	// VirtualMachine yet.
	waits []string
	// unpauseError is set when a guest with verified rules could not be unpaused.
	unpauseError error
}

// gather reads the objects that the desired children depend on.
func (r *Reconciler) gather(ctx context.Context, s *scope) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(vmiKind)
	switch err := r.Client.Get(ctx, vmObjectKey(s.mvm), u); {
	case err == nil:
		s.vmi = &kubevirtv1.VirtualMachineInstance{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, s.vmi); err != nil {
			return fmt.Errorf("decode VirtualMachineInstance: %w", err)
		}
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read VirtualMachineInstance: %w", err)
	}
	if err := r.gatherOwner(ctx, s); err != nil {
		return err
	}
	return r.gatherPods(ctx, s)
}

// vmObjectKey returns the key of the VirtualMachine and of its VirtualMachineInstance.
func vmObjectKey(mvm *v1alpha1.MeshedVirtualMachine) client.ObjectKey {
	return client.ObjectKey{Namespace: mvm.Namespace, Name: mvm.VirtualMachineName()}
}

// labeled selects the objects with the label of the MeshedVirtualMachine.
func (s *scope) labeled() client.MatchingFields {
	return cacheindex.Labels(map[string]string{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name})
}

// gatherNATs reads the PodNATConfigurations and their status.
func (r *Reconciler) gatherNATs(ctx context.Context, s *scope) error {
	var list v1alpha1.PodNATConfigurationList
	if err := r.Client.List(ctx, &list, client.InNamespace(s.mvm.Namespace), client.MatchingFields{cacheindex.Owner: s.mvm.Name}); err != nil {
		return fmt.Errorf("list PodNATConfigurations: %w", err)
	}
	s.nats = make(map[types.UID]v1alpha1.PodNATConfiguration, len(list.Items))
	for _, c := range list.Items {
		s.nats[c.Spec.Pod.UID] = c
	}
	return nil
}

// lastAccepted returns the configuration that contains the rules of the last
// accepted spec: the configuration of a live pod, which follows each accepted
// spec, or the newest configuration of a pod that no longer exists, or nil.
func (s *scope) lastAccepted() *v1alpha1.PodNATConfiguration {
	var owned []v1alpha1.PodNATConfiguration
	for _, c := range s.nats {
		if metav1.IsControlledBy(&c, s.mvm) {
			owned = append(owned, c)
		}
	}
	if len(owned) == 0 {
		return nil
	}
	last := slices.MinFunc(owned, func(a, b v1alpha1.PodNATConfiguration) int {
		return cmp.Or(
			-cmp.Compare(boolInt(s.hasPod(&a)), boolInt(s.hasPod(&b))),
			-a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return &last
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// hasPod reports whether the pod of a configuration is live.
func (s *scope) hasPod(c *v1alpha1.PodNATConfiguration) bool {
	return slices.ContainsFunc(s.pods, func(p corev1.Pod) bool { return p.UID == c.Spec.Pod.UID })
}

// listChildren reads the existing children, for a spec of which the desired
// children are not known.
func (r *Reconciler) listChildren(ctx context.Context, s *scope) error {
	owned, err := r.owned(ctx, s)
	s.children = owned
	return errors.Join(err, r.sharedObjects(ctx, s, owned))
}

// owned returns the objects of all kinds of children that the MeshedVirtualMachine
// controls. After an error, it returns those that were read.
func (r *Reconciler) owned(ctx context.Context, s *scope) (map[apply.Key]*unstructured.Unstructured, error) {
	found := map[apply.Key]*unstructured.Unstructured{}
	for _, kind := range children.Kinds() {
		if s.unavailable[kind.GroupKind()] != nil {
			continue
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := r.Client.List(ctx, list, client.InNamespace(s.mvm.Namespace), s.labeled()); err != nil {
			return found, fmt.Errorf("list %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; metav1.IsControlledBy(o, s.mvm) || s.keeps(o) {
				found[apply.KeyOf(o)] = o
			}
		}
	}
	return found, nil
}

// gatherVM decodes the VirtualMachine among the children.
func (s *scope) gatherVM() error {
	u := s.children[vmKey(s.mvm)]
	if u == nil {
		return nil
	}
	s.vm = &kubevirtv1.VirtualMachine{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, s.vm); err != nil {
		return fmt.Errorf("decode VirtualMachine: %w", err)
	}
	return nil
}
