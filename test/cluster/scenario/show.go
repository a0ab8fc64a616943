// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"meshvm.io/meshvm/internal/children"

	"meshvm.io/meshvm/test/cluster"
)

// Run deploys the operator and the sample, and waits until packets can be sent.
func (s *Scenario) Run(ctx context.Context) (pod *corev1.Pod, clients Clients, err error) {
	if err := s.DeployOperator(ctx); err != nil {
		return nil, clients, err
	}
	return s.Sample(ctx)
}

// Sample is Run without deploying the operator.
func (s *Scenario) Sample(ctx context.Context) (pod *corev1.Pod, clients Clients, err error) {
	if err := s.ApplySample(ctx); err != nil {
		return nil, clients, err
	}
	if clients, err = s.MakeClients(ctx); err != nil {
		return nil, clients, err
	}
	if pod, err = s.WaitReady(ctx); err != nil {
		return nil, clients, err
	}
	return pod, clients, s.AwaitGuest(ctx, clients)
}

// Show prints the objects, the table in the kernel and the checks of packets.
func (s *Scenario) Show(ctx context.Context, w io.Writer, pod *corev1.Pod, clients Clients) error {
	p := printer{w: w}
	for _, args := range [][]string{
		{"get", "mvm", Name},
		{"get", "virtualmachineinstance," + strings.Join(children.Resources(), ",")},
	} {
		args = append([]string{"-n", s.namespace}, args...)
		p.heading("kubectl %s", strings.Join(args, " "))
		if err := s.Kubectl(ctx, cluster.Stdio{Out: w, Err: w}, args...); err != nil {
			return err
		}
	}
	p.heading("nft list table inet meshvm, in the network namespace of pod %s", pod.Name)
	table, err := s.NATTable(ctx, string(pod.UID))
	switch {
	case err != nil && s.images != nil:
		p.text(fmt.Sprintf("left out, because virt-handler of the pod's node could not run it: %v\n", err))
	case err != nil:
		return err
	}
	p.text(table)

	checks, err := s.Packets(ctx, pod, clients)
	if err != nil {
		return err
	}
	proxy := "Envoy"
	if s.StandIn(pod) {
		proxy = "a stand-in for Envoy, which is not available"
	}
	p.heading("packets (outside is %s, the meshed client %s, the pod %s; the proxies are %s)",
		clients.Outside.Status.PodIP, clients.Inside.Status.PodIP, pod.Status.PodIP, proxy)
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
