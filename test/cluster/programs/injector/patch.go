package main

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Images of the local cluster.
const (
	agentImage = "localhost/meshvm-test/pilot-agent:dev"
	proxyImage = "localhost/meshvm-test/proxy-stand-in:dev"
)

// Annotations that are read, all but the last of them Istio's.
const (
	annotationKubevirt        = "traffic.sidecar.istio.io/kubevirtInterfaces"
	annotationReroute         = "istio.io/reroute-virtual-interfaces"
	annotationExcludeInbound  = "traffic.sidecar.istio.io/excludeInboundPorts"
	annotationExcludeOutbound = "traffic.sidecar.istio.io/excludeOutboundPorts"
	annotationExcludeRanges   = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
	// annotationNativeNftables chooses Istio's nftables writer for one pod. In
	// Istio it is a setting of the mesh, global.nativeNftables.
	annotationNativeNftables = "test.meshvm.io/native-nftables"
)

// proxyUser is Envoy's user, which Istio's rules know.
const proxyUser = int64(1337)

// operation is one step of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch is what has to be added to the pod, nil when nothing.
func patch(pod *corev1.Pod) ([]byte, error) {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == "istio-proxy" {
			return nil, nil
		}
	}
	added := []corev1.Container{initContainer(pod.Annotations), sidecar()}
	var ops []operation
	if len(pod.Spec.InitContainers) == 0 {
		ops = append(ops, operation{"add", "/spec/initContainers", added})
	} else {
		ops = append(ops, operation{"add", "/spec/initContainers/0", added[1]}, operation{"add", "/spec/initContainers/0", added[0]})
	}
	if pod.Annotations == nil {
		ops = append(ops, operation{"add", "/metadata/annotations", map[string]string{}})
	}
	ops = append(ops, operation{"add", "/metadata/annotations/sidecar.istio.io~1status", `{"stand-in":"test/cluster/programs/injector"}`})
	return json.Marshal(ops)
}

// arguments of istio-iptables: the injector's, for REDIRECT mode.
func arguments(annotations map[string]string) []string {
	inbound := "15090,15021,15020"
	if v := annotations[annotationExcludeInbound]; v != "" {
		inbound += "," + v
	}
	args := []string{
		"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT",
		"-i", "*", "-x", annotations[annotationExcludeRanges], "-b", "*", "-d", inbound,
	}
	if v := annotations[annotationExcludeOutbound]; v != "" {
		args = append(args, "-o", v)
	}
	interfaces := annotations[annotationReroute]
	if interfaces == "" {
		interfaces = annotations[annotationKubevirt]
	}
	if interfaces != "" {
		args = append(args, "-k", interfaces)
	}
	if annotations[annotationNativeNftables] == "true" {
		args = append(args, "--native-nftables")
	}
	return args
}

func initContainer(annotations map[string]string) corev1.Container {
	root, no := int64(0), false
	return corev1.Container{
		Name: "istio-init", Image: agentImage, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"/usr/local/bin/pilot-agent"}, Args: arguments(annotations),
		Resources: resources(),
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: &root, RunAsGroup: &root, RunAsNonRoot: &no,
			AllowPrivilegeEscalation: &no, Privileged: &no, ReadOnlyRootFilesystem: &no,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}},
		},
	}
}

func sidecar() corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	probe := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt32(15021)}}
	return corev1.Container{
		Name: "istio-proxy", Image: proxyImage, ImagePullPolicy: corev1.PullIfNotPresent,
		RestartPolicy: &always,
		Resources:     resources(),
		Ports:         []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: 15090, Protocol: corev1.ProtocolTCP}},
		StartupProbe:  &corev1.Probe{ProbeHandler: probe, PeriodSeconds: 1, FailureThreshold: 600},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler: probe, PeriodSeconds: 2, FailureThreshold: 4, TimeoutSeconds: 3,
		},
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: new(proxyUser), RunAsGroup: new(proxyUser), RunAsNonRoot: new(true),
			AllowPrivilegeEscalation: new(false), Privileged: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

func resources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("40Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
}
