// SPDX-License-Identifier: Apache-2.0

package progress

// Names of steps that are not products of package builder.
const (
	// DemoProgram is the demo's second program, which the first one compiles.
	DemoProgram = "the demo's program"
	// OperatorPrograms are the programs in the operator's images.
	OperatorPrograms = "the operator's programs"
	// StartCluster is the step from the start of the node to the last packet.
	StartCluster = "the cluster"
)

// Costs lists the steps of a demo for which nothing is cached, approximately in
// the order in which they begin. The names are the names of products in package
// builder.
var Costs = []Cost{
	{Name: DemoProgram, Seconds: 85, Packages: 892},
	{Name: "bin/kube", Seconds: 195, Packages: 2033},
	{Name: "rootfs/base", Seconds: 15},
	{Name: "rootfs/node", Seconds: 2},
	{Name: "rootfs/build", Seconds: 3},
	{Name: "bin/kubevirt-cgo", Seconds: 95, Packages: 959},
	{Name: "bin/virt-operator", Seconds: 7, Packages: 54},
	{Name: "bin/virt-api", Seconds: 5, Packages: 24},
	{Name: "bin/virt-controller", Seconds: 8, Packages: 35},
	{Name: "guest-kernel", Seconds: 2},
	{Name: "bin/envoy", Seconds: 2},
	{Name: "bin/pilot-agent", Seconds: 15, Packages: 187},
	{Name: "bin/pilot-discovery", Seconds: 80, Packages: 694},
	{Name: "bin/coredns", Seconds: 5, Packages: 69},
	{Name: "bin/charts", Seconds: 4, Packages: 35},
	{Name: OperatorPrograms, Seconds: 20, Packages: 200},
	{Name: StartCluster, Seconds: 75},
}

// Disk is the disk space in MB that a demo uses if nothing is cached, by
// directory.
var Disk = struct{ Cache, GoCache, Modules float64 }{Cache: 6000, GoCache: 6500, Modules: 2000}

// Sum returns the sum of the costs.
func Sum(steps []Cost) (seconds float64) {
	for _, s := range steps {
		seconds += s.Seconds
	}
	return seconds
}
