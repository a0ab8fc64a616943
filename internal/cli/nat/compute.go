// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// observed are the objects that the result depends on.
type observed struct {
	mvm  *v1alpha1.MeshedVirtualMachine
	nats []v1alpha1.PodNATConfiguration
	pods map[types.UID]*corev1.Pod
}

// compute returns the result.
func compute(o observed) Result {
	r := Result{Format: Format, Namespace: o.mvm.Namespace, Name: o.mvm.Name, AsDeclared: true}
	found := map[nftrules.Defect]bool{}
	for i := range o.nats {
		p := podOf(o, &o.nats[i], found)
		r.AsDeclared = r.AsDeclared && p.Difference == ""
		r.Pods = append(r.Pods, p)
	}
	for d := range found {
		r.Defects = append(r.Defects, Defect{Name: string(d), Summary: d.Summary()})
	}
	slices.SortFunc(r.Defects, func(a, b Defect) int { return defectOrder(a.Name) - defectOrder(b.Name) })
	where := o.mvm.Namespace + "/" + o.mvm.Name
	r.Next = fmt.Sprintf("kubectl meshvm status %s -n %s", r.Name, r.Namespace)
	switch {
	case len(r.Pods) == 0:
		c := meta.FindStatusCondition(o.mvm.Status.Conditions, string(v1alpha1.ConditionNATProgrammed))
		r.AsDeclared = c != nil && c.Status == metav1.ConditionTrue
		r.Verdict = where + " has no pod with rules"
	case r.AsDeclared:
		r.Verdict = fmt.Sprintf("%s has the declared rules in all pods (%d): they were read back from the kernel", where, len(r.Pods))
	default:
		r.Verdict = where + " does not have the declared rules in every pod"
	}
	return r
}

// defectOrder sorts N2 before N10, and defects without a number last.
func defectOrder(name string) int {
	if n, err := strconv.Atoi(name[1:]); err == nil {
		return n
	}
	return 1000
}

func podOf(o observed, nat *v1alpha1.PodNATConfiguration, found map[nftrules.Defect]bool) Pod {
	p := Pod{Name: nat.Spec.Pod.Name, Configuration: nat.Name}
	st := &nat.Status
	if st.Applied.Digest != "" {
		c := st.Counters
		p.ReadBack = &ReadBack{
			Digest: st.Applied.Digest, Rules: st.Applied.Rules, Time: timeOf(st.Applied.Time), Node: st.Applied.Node,
			Captured: count(c.Captured), Direct: count(c.Direct), Dropped: count(c.Dropped),
		}
	}
	if st.Repairs.Count > 0 {
		p.Repairs = &Repairs{Count: st.Repairs.Count, Time: timeOf(st.Repairs.LastTime), Reason: string(st.Repairs.LastReason), Message: st.Repairs.LastMessage}
	}
	request, digest, table, err := wanted(nat, o.pods[nat.Spec.Pod.UID])
	if err != nil {
		p.Difference = err.Error()
		return p
	}
	p.Wanted = describe(table, names(o.mvm.Spec.Ports), found)
	p.Difference = difference(st, digest, table, request)
	return p
}

// wanted computes the request and the table as the operator does.
func wanted(nat *v1alpha1.PodNATConfiguration, pod *corev1.Pod) (ruleio.Request, string, nftrules.Table, error) {
	if pod == nil {
		return ruleio.Request{}, "", nftrules.Table{}, fmt.Errorf("pod %s was not found", nat.Spec.Pod.Name)
	}
	request, err := natplan.ApplyRequest(nat, pod)
	if err != nil {
		return request, "", nftrules.Table{}, fmt.Errorf("no rules can be computed: %w", err)
	}
	digest, err := request.Digest()
	if err != nil {
		return request, "", nftrules.Table{}, err
	}
	table, err := nftrules.Build(*request.Targets[0].Plan)
	return request, digest, table, err
}

// difference compares the wanted rules with those that were read back.
func difference(st *v1alpha1.PodNATConfigurationStatus, digest string, table nftrules.Table, request ruleio.Request) string {
	programmed := meta.FindStatusCondition(st.Conditions, string(v1alpha1.ConditionProgrammed))
	switch {
	case st.Applied.Digest == "":
		return "no rules were read back" + reason(programmed)
	case st.Applied.RequestDigest != digest:
		return fmt.Sprintf("the rules that were read back are those of another request (version %s of the plugin's format)", request.Version) + reason(programmed)
	case st.Applied.Digest != table.Digest():
		return "the rules that were read back have another digest than the wanted rules: the plugin and the operator must have the same version" + reason(programmed)
	case programmed == nil || programmed.Status != metav1.ConditionTrue:
		return "the rules were read back earlier" + reason(programmed)
	}
	return ""
}

func reason(c *metav1.Condition) string {
	if c == nil || c.Status == metav1.ConditionTrue {
		return ""
	}
	return ": " + c.Reason + ": " + c.Message
}

// describe converts a table. Ports have the names of the spec.
func describe(table nftrules.Table, names map[string]string, found map[nftrules.Defect]bool) Wanted {
	w := Wanted{Digest: table.Digest(), Rules: table.RuleCount()}
	for _, s := range table.Sets {
		set := Set{Name: s.Name}
		for _, e := range s.Elements {
			if name := names[protocolOf(s.Name)+e]; name != "" {
				e += " (" + name + ")"
			}
			set.Elements = append(set.Elements, e)
		}
		w.Sets = append(w.Sets, set)
	}
	for _, c := range table.Chains {
		chain := Chain{Name: c.Name, Hook: string(c.Hook), Priority: c.Priority}
		for i, r := range c.Rules {
			rule := Rule{Text: r.Text()}
			for _, d := range table.Purposes[c.Name][i].Defects {
				rule.Defects = append(rule.Defects, string(d))
				found[d] = true
			}
			chain.Rules = append(chain.Rules, rule)
		}
		w.Chains = append(w.Chains, chain)
	}
	return w
}

// protocolOf returns the prefix of the keys of names for a set. The name of a set of UDP
// ports ends in udp.
func protocolOf(set string) string {
	if strings.HasSuffix(set, "udp") {
		return "udp/"
	}
	return "tcp/"
}

// names returns the names of ports of the spec by the protocol and the port of the guest.
func names(ports []v1alpha1.Port) map[string]string {
	out := map[string]string{}
	for _, p := range ports {
		protocol := "tcp/"
		if p.Protocol == v1alpha1.PortProtocolUDP {
			protocol = "udp/"
		}
		out[protocol+strconv.Itoa(int(p.TargetPortOrDefault()))] = p.Name
	}
	return out
}

func count(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func timeOf(t *metav1.Time) metav1.Time {
	if t == nil {
		return metav1.Time{}
	}
	return *t
}
