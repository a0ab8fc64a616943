//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
)

func objectKey() client.ObjectKey { return client.ObjectKey{Namespace: Namespace, Name: Name} }

// Run brings the scenario to where packets can be sent.
func (s *Scenario) Run(ctx context.Context) (pod *corev1.Pod, clientIP string, err error) {
	if err := s.DeployOperator(ctx); err != nil {
		return nil, "", err
	}
	if err := s.ApplySample(ctx); err != nil {
		return nil, "", err
	}
	if clientIP, err = s.MakeClient(ctx); err != nil {
		return nil, "", err
	}
	if pod, err = s.WaitReady(ctx); err != nil {
		return nil, "", err
	}
	return pod, clientIP, s.AwaitGuest(ctx, pod.Status.PodIP)
}

// Show prints the objects, the table in the kernel and the checks of packets.
func (s *Scenario) Show(ctx context.Context, w io.Writer, pod *corev1.Pod, clientIP string) error {
	p := printer{w: w}
	for _, args := range [][]string{
		{"get", "mvm", Name},
		{"get", "podnat"},
		{"get", "virtualmachine,virtualmachineinstance,service,virtualservice,destinationrule,peerauthentication"},
	} {
		args = append([]string{"-n", Namespace}, args...)
		p.heading("kubectl %s", strings.Join(args, " "))
		if err := s.Kubectl(ctx, cluster.Stdio{Out: w, Err: w}, args...); err != nil {
			return err
		}
	}
	table, err := s.NATTable(ctx, string(pod.UID))
	if err != nil {
		return err
	}
	p.heading("nft list table inet meshvm, in the network namespace of pod %s", pod.Name)
	p.text(table)

	checks, err := s.Packets(ctx, pod, clientIP)
	if err != nil {
		return err
	}
	p.heading("packets (outside is %s, the pod is %s; the proxy is a stand-in of Envoy)", clientIP, pod.Status.PodIP)
	var failed []error
	for _, c := range checks {
		mark := "ok    "
		if c.Err != nil {
			mark = "FAILED"
			failed = append(failed, fmt.Errorf("%s: %w", c.Name, c.Err))
		}
		p.text(fmt.Sprintf("%s  %s\n        want: %s\n        seen: %s\n", mark, c.Name, c.Want, c.Seen))
	}
	return errors.Join(append(failed, p.err)...)
}

// printer keeps the first error of writing.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) text(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

func (p *printer) heading(format string, args ...any) {
	p.text("\n== " + fmt.Sprintf(format, args...) + "\n")
}
