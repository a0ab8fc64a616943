// Package node is the first process of a node: it makes the node's root file
// system, devices, cgroups and addresses inside namespaces that its starter
// made for it, runs the servers, and reaps what they leave behind.
package node

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Config tells the node's first process everything. It is a file in the state
// directory, so that a node can be looked at after it has ended.
type Config struct {
	// Name is the node's name in Kubernetes and its host name.
	Name string `json:"name"`
	// State is the directory, as the host sees it, for all that outlives the node.
	State string `json:"state"`
	// Lower are the directories of the read-only root, lowest last.
	Lower []string `json:"lower"`
	// Programs maps a program's name inside the node to its file on the host.
	Programs map[string]string `json:"programs"`
	// Address of the node with the length of its prefix, and its gateway: the host.
	Address string `json:"address"`
	Gateway string `json:"gateway"`
	// PodCIDR and ServiceCIDR are only known inside the node.
	PodCIDR     string `json:"podCIDR"`
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

// Files of the state directory.
const (
	configFile = "node.json"
	statusFile = "status.json"
	// PKIDir and LogDir are folders of the state directory.
	PKIDir = "pki"
	LogDir = "log"
)

// Places inside the node.
const (
	stateMount    = "/node/state"
	programsMount = "/node/bin"
	// Socket is containerd's.
	Socket = "/run/containerd/containerd.sock"
	// InjectorPort is where the API server finds the stand-in of Istio's injector.
	InjectorPort = "9443"
)

// PauseImage holds a pod's namespaces open.
const PauseImage = "localhost/meshvm-test/pause:dev"

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
	// Message says what is waited for, or what failed.
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
