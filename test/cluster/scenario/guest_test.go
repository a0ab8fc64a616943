// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/requirement"
	"sigs.k8s.io/yaml"
)

// freePort is a port that nothing listened on a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()                     //nolint:errcheck // only its number is used
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is a TCP listener
}

func fetch(ctx context.Context, address string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// The guest on a public image gives the answers that the checks look for.
func TestPublicGuest(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		requirement.Cluster.Unmet(t, "python3 is not installed")
	}
	httpPort, udpPort := freePort(t), freePort(t)
	cmd := exec.CommandContext(t.Context(), python, "-c", guestProgram, fmt.Sprint(httpPort), fmt.Sprint(udpPort))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	base := fmt.Sprintf("http://127.0.0.1:%d/", httpPort)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(2 * time.Minute)
	var hello string
	for hello, err = fetch(t.Context(), base); err != nil && time.Now().Before(deadline); hello, err = fetch(t.Context(), base) {
		<-tick.C
	}
	if err != nil || !strings.HasPrefix(hello, "hello from guest ") || !strings.Contains(hello, "client=127.0.0.1:") {
		t.Errorf("/ answered %q (%v)", hello, err)
	}

	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close() //nolint:errcheck // the test ends
	go func() {
		if c, err := peer.Accept(); err == nil {
			_, _ = fmt.Fprintf(c, "client=%s\n", c.RemoteAddr())
			_ = c.Close()
		}
	}()
	dial := func(address string) (d Dialled) {
		t.Helper()
		body, err := fetch(t.Context(), base+"dial?"+url.Values{"network": {"tcp"}, "addr": {address}}.Encode())
		if err == nil {
			err = json.Unmarshal([]byte(body), &d)
		}
		if err != nil {
			t.Errorf("/dial answered %q (%v)", body, err)
		}
		return d
	}
	if d := dial(peer.Addr().String()); d.Error != "" || d.Answer != "client="+d.Local+"\n" || d.Remote != peer.Addr().String() {
		t.Errorf("/dial returned %+v", d)
	}
	if d := dial("127.0.0.1:1"); d.Error == "" {
		t.Errorf("/dial to a closed port returned %+v", d)
	}

	checkEcho(t, fmt.Sprintf("127.0.0.1:%d", udpPort), deadline)
}

// checkEcho sends datagrams until the echo server, whose thread may start later, answers.
func checkEcho(t *testing.T, address string, deadline time.Time) {
	t.Helper()
	udp, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close() //nolint:errcheck // the test ends
	buf := make([]byte, 100)
	for {
		_ = udp.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := udp.Write([]byte("ping"))
		n := 0
		if err == nil {
			n, err = udp.Read(buf)
		}
		if err == nil || time.Now().After(deadline) {
			if err != nil || string(buf[:n]) != fmt.Sprintf("echo client=%s ping", udp.LocalAddr()) {
				t.Errorf("the echo returned %q (%v)", buf[:n], err)
			}
			return
		}
		time.Sleep(50 * time.Millisecond) // The server is another process.
	}
}

// cloud-init reads the program as it is.
func TestUserData(t *testing.T) {
	var config struct {
		WriteFiles []struct{ Path, Content string } `json:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(userData()), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.WriteFiles) != 1 || strings.TrimSpace(config.WriteFiles[0].Content) != strings.TrimSpace(guestProgram) {
		t.Errorf("cloud-init writes %+v", config.WriteFiles)
	}
}
