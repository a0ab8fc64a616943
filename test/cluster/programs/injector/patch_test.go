package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestArguments(t *testing.T) {
	got := strings.Join(arguments(map[string]string{
		annotationKubevirt: "k6t-eth0", annotationExcludeInbound: "9000", annotationExcludeOutbound: "53", annotationNativeNftables: "true",
	}), " ")
	want := "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020,9000 -o 53 -k k6t-eth0 --native-nftables"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPatch(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "first"}}}}
	raw, err := patch(pod)
	if err != nil {
		t.Fatal(err)
	}
	proxy, init := strings.Index(string(raw), `"istio-proxy"`), strings.Index(string(raw), `"istio-init"`)
	if proxy < 0 || init < proxy {
		t.Errorf("istio-init must be put before istio-proxy, each to the front: %s", raw)
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "istio-proxy"})
	if raw, err := patch(pod); raw != nil || err != nil {
		t.Errorf("an injected pod was injected again: %s, %v", raw, err)
	}
}
