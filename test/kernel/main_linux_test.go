// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/requirement"

	"meshvm.io/meshvm/test/cluster/builder"
)

// Environment variables of these tests.
const (
	masqueradeEnv = "MESHVM_MASQUERADE"
	pilotAgentEnv = "MESHVM_PILOT_AGENT"
	ambientEnv    = "MESHVM_AMBIENT"
)

var update = flag.Bool("update", false, "rewrite the generated sections of docs/packet-path.md")

// programs are the upstream programs that write rules.
type programs struct {
	masquerade string
	pilotAgent string
	ambient    string
}

// upstream finds or builds the upstream programs once.
var upstream = sync.OnceValues(func() (programs, error) {
	p := programs{masquerade: os.Getenv(masqueradeEnv), pilotAgent: os.Getenv(pilotAgentEnv), ambient: os.Getenv(ambientEnv)}
	b, err := builder.New(os.Stderr)
	if err != nil {
		return p, err
	}
	for name, path := range map[string]*string{"masquerade": &p.masquerade, "pilot-agent": &p.pilotAgent, "ambient": &p.ambient} {
		if *path == "" {
			if *path, err = b.Tool(context.Background(), name); err != nil {
				return p, err
			}
		}
	}
	return p, nil
})

// unmet is the missing requirement of the tests, or nil.
var unmet = sync.OnceValue(missing)

func TestMain(m *testing.M) {
	flag.Parse()
	manyAtOnce()
	if err := unmet(); err != nil {
		fmt.Fprintf(os.Stderr, "skipping the tests with packets: %v\n", err)
	}
	before := ownTables()
	code := m.Run()
	if after := ownTables(); after != before {
		fmt.Fprintf(os.Stderr, "the tables %q in the machine's network namespace changed to %q: a test did not use its lab\n", before, after)
		code = max(code, 1)
	}
	os.Exit(code)
}

// labsAtOnce is the number of parallel labs. Labs wait most of the time.
const labsAtOnce = 8

// manyAtOnce sets -parallel unless the flag is set.
func manyAtOnce() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(labsAtOnce))
	}
}

// ownTables returns the tables of this project in the network namespace in
// which the tests were started. It must not contain any.
func ownTables() string {
	out, err := exec.Command("nft", "list", "tables").Output()
	if err != nil {
		return ""
	}
	var own []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "meshvm") {
			own = append(own, strings.TrimSpace(line))
		}
	}
	return strings.Join(own, ", ")
}

// need skips the test if its requirements are not met, or fails it if skipping
// is forbidden.
func need(t testing.TB) {
	t.Helper()
	if err := unmet(); err != nil {
		requirement.Kernel.Unmet(t, "%v", err)
	}
}

// missing returns the missing requirement of the tests, or nil.
func missing() error {
	var errs []error
	for _, p := range []struct{ program, install string }{
		{"nft", "apt-get install nftables"},
		{"iptables-restore", "apt-get install iptables"},
	} {
		if _, err := exec.LookPath(p.program); err != nil {
			errs = append(errs, fmt.Errorf("program %s not found (%s)", p.program, p.install))
		}
	}
	if err := mayMakeNamespaces(); err != nil {
		errs = append(errs, fmt.Errorf("%w (run as root, or with unshare --map-auto --map-root-user)", err))
	}
	return errors.Join(errs...)
}

// mayMakeNamespaces tries the operations of every lab on a thread that is
// terminated afterwards.
func mayMakeNamespaces() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("not allowed to create network namespaces: %w", err)
			return
		}
		result <- asUser(proxyUID, func() error { return nil })
	}()
	return <-result
}
