// SPDX-License-Identifier: Apache-2.0

// Package node is the first process of a node: it makes the node's root file
// system, devices, cgroups and addresses inside namespaces that its starter
// made for it, runs the servers, and reaps what they leave behind.
package node

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Config shows the node's first process everything. It is a file in the state
// directory, so that a node can be looked at after it has ended.
type Config struct {
	// Name is the node's name in Kubernetes and its host name.
	Name string `json:"name"`
	// State is the directory, as the host sees it, for all that outlives the node.
	State string `json:"state"`
	// Role is ControlPlane or Worker.
	Role string `json:"role"`
	// Lower are the directories of the read-only root, lowest last.
	Lower []string `json:"lower"`
	// Programs maps a program's name inside the node to its file on the host.
	Programs map[string]string `json:"programs"`
	// Address of the node with the length of its prefix, and its gateway: the
	// host, or for a worker the first node.
	Address string `json:"address"`
	Gateway string `json:"gateway"`
	// PodCIDR, of this node, ClusterCIDR, of all nodes' pods, and ServiceCIDR are
	// only known inside the nodes.
	PodCIDR     string `json:"podCIDR"`
	ClusterCIDR string `json:"clusterCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	// Cgroups are the directories, one per hierarchy, that contain the node.
	Cgroups []Cgroup `json:"cgroups"`
}

// Cgroup is the node's place in one cgroup hierarchy.
type Cgroup struct {
	// Controllers as in /proc/self/cgroup: "memory", "cpu,cpuacct",
	// "name=systemd", or empty for the unified hierarchy.
	Controllers string `json:"controllers"`
	// Dir is the directory as the host sees it.
	Dir string `json:"dir"`
}

// Roles of nodes.
const (
	// ControlPlane has etcd and the servers of the control plane, and runs pods.
	ControlPlane = "ControlPlane"
	// Worker only runs pods.
	Worker = "Worker"
)

// Files of the state directory.
const (
	configFile = "node.json"
	statusFile = "status.json"
	// PKIDir and LogDir are folders of the state directory.
	PKIDir = "pki"
	LogDir = "log"
	// AuditLog is the file of the first node's logs with what the operator asks of
	// the API server, one JSON object of kind Event of audit.k8s.io/v1 a line.
	AuditLog = "audit.log"
)

// Places inside the node.
const (
	stateMount    = "/node/state"
	programsMount = "/node/bin"
	// Socket is containerd's.
	Socket = "/run/containerd/containerd.sock"
	// DNSAddress is the address of the Service of the cluster's DNS.
	DNSAddress = "10.96.0.10"
)

// PauseImage holds a pod's namespaces open.
const PauseImage = "localhost/meshvm-test/pause:dev"

// RestartRequest is a file of the state directory. While it exists, a server
// that ends is started again, once; then the file is gone.
func RestartRequest(server string) string { return "restart-" + server }

// ConfigPath is the file of a node's configuration.
func ConfigPath(state string) string { return filepath.Join(state, configFile) }

// Save writes the configuration to its file.
func (c Config) Save() error { return writeJSON(ConfigPath(c.State), c) }

// Load reads the configuration of the node with that state directory.
func Load(state string) (Config, error) {
	var c Config
	return c, readJSON(ConfigPath(state), &c)
}

// Status is what the node's first process reports.
type Status struct {
	// Phase is Starting, Ready (all servers were started) or Failed.
	Phase string `json:"phase"`
	// Message describes what is waited for, or what failed.
	Message string `json:"message,omitempty"`
	// Servers by name.
	Servers map[string]Server `json:"servers"`
}

// Phases of a node.
const (
	Starting = "Starting"
	Ready    = "Ready"
	Failed   = "Failed"
)

// Server is the state of one server program.
type Server struct {
	PID    int    `json:"pid"`
	Exited string `json:"exited,omitempty"`
}

// ReadStatus reads the report of the node with that state directory.
func ReadStatus(state string) (Status, error) {
	var s Status
	return s, readJSON(filepath.Join(state, statusFile), &s)
}

// ClearStatus forgets the report of an earlier run.
func ClearStatus(state string) error {
	err := os.Remove(filepath.Join(state, statusFile))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
