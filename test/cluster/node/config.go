// SPDX-License-Identifier: Apache-2.0

// Package node is the first process of a node. It creates the node's root file
// system, devices, cgroups and addresses inside namespaces that the starting
// program created, runs the servers, and reaps orphaned processes.
package node

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Config is the configuration of the node's first process. It is stored in the
// state directory, so that a node can be inspected after it has stopped.
type Config struct {
	// Name is the node's name in Kubernetes and its host name.
	Name string `json:"name"`
	// State is the path on the host of the directory with the data that is kept
	// when the node stops.
	State string `json:"state"`
	// Role is ControlPlane or Worker.
	Role string `json:"role"`
	// Lower lists the directories of the read-only root. The last one is the
	// lowest layer.
	Lower []string `json:"lower"`
	// Programs maps a program's name in the node to its path on the host.
	Programs map[string]string `json:"programs"`
	// Address is the node's address with the prefix length. Gateway is the address
	// of the host, or of the first node for a worker.
	Address string `json:"address"`
	Gateway string `json:"gateway"`
	// PodCIDR is the network of this node's pods, and ClusterCIDR is the network
	// of all pods. These networks and ServiceCIDR exist only inside the nodes.
	PodCIDR     string `json:"podCIDR"`
	ClusterCIDR string `json:"clusterCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	// Cgroups lists the node's cgroups, one per hierarchy.
	Cgroups []Cgroup `json:"cgroups"`
}

// Cgroup is the node's cgroup in one hierarchy.
type Cgroup struct {
	// Controllers is in the format of /proc/self/cgroup: "memory", "cpu,cpuacct",
	// "name=systemd", or empty for the unified hierarchy.
	Controllers string `json:"controllers"`
	// Dir is the path of the directory on the host.
	Dir string `json:"dir"`
}

// Roles of nodes.
const (
	// ControlPlane runs etcd, the servers of the control plane, and pods.
	ControlPlane = "ControlPlane"
	// Worker runs only pods.
	Worker = "Worker"
)

// Files of the state directory.
const (
	configFile = "node.json"
	statusFile = "status.json"
	// PKIDir and LogDir are directories in the state directory.
	PKIDir = "pki"
	LogDir = "log"
	// AuditLog is the file in LogDir of the first node with the operator's requests
	// to the API server. Each line is a JSON object of kind Event of
	// audit.k8s.io/v1.
	AuditLog = "audit.log"
)

// Paths and addresses in the node.
const (
	stateMount    = "/node/state"
	programsMount = "/node/bin"
	// Socket is the path of containerd's socket.
	Socket = "/run/containerd/containerd.sock"
	// DNSAddress is the address of the Service of the cluster's DNS.
	DNSAddress = "10.96.0.10"
)

// PauseImage is the image of the container that keeps a pod's namespaces open.
const PauseImage = "localhost/meshvm-test/pause:dev"

// RestartRequest returns the name of a file in the state directory. If it
// exists when the server exits, the server is restarted and the file is
// removed.
func RestartRequest(server string) string { return "restart-" + server }

// ConfigPath returns the path of a node's configuration file.
func ConfigPath(state string) string { return filepath.Join(state, configFile) }

// Save writes the configuration to its file.
func (c Config) Save() error { return writeJSON(ConfigPath(c.State), c) }

// Load reads the configuration of the node with the state directory.
func Load(state string) (Config, error) {
	var c Config
	return c, readJSON(ConfigPath(state), &c)
}

// Status is the status that the node's first process reports.
type Status struct {
	// Phase is Starting, Ready (all servers were started) or Failed.
	Phase string `json:"phase"`
	// Message describes the server that is starting, or the failure.
	Message string `json:"message,omitempty"`
	// Servers contains the servers by name.
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

// ReadStatus reads the status of the node with the state directory.
func ReadStatus(state string) (Status, error) {
	var s Status
	return s, readJSON(filepath.Join(state, statusFile), &s)
}

// ClearStatus removes the status of an earlier run.
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
