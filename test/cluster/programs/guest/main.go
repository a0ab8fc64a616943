// SPDX-License-Identifier: Apache-2.0

// Command guest is what runs inside the test's virtual machine. It reports who
// talked to it, and opens connections when asked, so that tests can drive
// traffic in both directions:
//
//	8080/tcp  HTTP: "/" names the client's address as the guest sees it;
//	          "/dial?network=tcp&addr=10.0.0.1:80&send=hello" connects from
//	          the guest and returns what the peer answered;
//	          "/get?url=http://web/" is a request of the guest's own;
//	          "/slow?milliseconds=500" takes that long;
//	          "/flaky?key=a&fail=2" answers 503 to the first two requests with a key;
//	          "/hold?name=a&addr=10.0.0.1:80" opens a connection that is kept busy,
//	          "/held?name=a" returns its state (package flow)
//	22/tcp    a banner, in place of an SSH server
//	9000/tcp  a banner, for a port that no manifest names
//	9100/tcp  returns lines
//	5353/udp  echo, with the client's address; the same on 9000/udp
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"meshvm.io/meshvm/test/cluster/programs/flow"
)

// banner is sent on port 22. There is no SSH server: only the way to it matters.
const banner = "SSH-2.0-stand-in_of_an_ssh_server client=%s\r\n"

func main() {
	go serveBanner(":22", banner)
	go serveBanner(":9000", "guest port 9000, client=%s\r\n")
	go serveLines(":9100")
	go serveEcho(":5353")
	go serveEcho(":9000")
	http.HandleFunc("/dial", dial)
	http.HandleFunc("/get", get)
	http.HandleFunc("/slow", slow)
	http.HandleFunc("/flaky", flaky)
	http.HandleFunc("/hold", hold)
	http.HandleFunc("/held", held)
	http.HandleFunc("/", hello)
	log.Print("guest: serving on 8080/tcp, 22/tcp, 9000/tcp, 9100/tcp, 5353/udp, 9000/udp")
	log.Fatal(http.ListenAndServe(":8080", nil)) //nolint:gosec // a test's server
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprintf(w, "hello from guest %s: client=%s local=%s host=%s path=%s\n",
		name(), r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey), r.Host, r.URL.Path)
}

// name is the value of guest.name on the kernel's command line, by which tests
// show guests of the same image apart, or else the host's name.
func name() string {
	raw, _ := os.ReadFile("/proc/cmdline")
	for word := range strings.FieldsSeq(string(raw)) {
		if name, ok := strings.CutPrefix(word, "guest.name="); ok {
			return name
		}
	}
	host, _ := os.Hostname()
	return host
}

func serveLines(address string) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		err = flow.Serve(l)
	}
	log.Fatal(err)
}

func serveBanner(address, format string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Print(err)
			continue
		}
		go func() {
			_, _ = fmt.Fprintf(c, format, c.RemoteAddr())
			_ = c.Close()
		}()
	}
}

func serveEcho(address string) {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			log.Print(err)
			continue
		}
		_, _ = c.WriteTo(fmt.Appendf(nil, "echo client=%s %s", from, buf[:n]), from)
	}
}

// result is the answer of /dial.
type result struct {
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	Answer string `json:"answer,omitempty"`
	Error  string `json:"error,omitempty"`
}

func dial(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	network := q.Get("network")
	if network == "" {
		network = "tcp"
	}
	answerJSON(w, connect(network, q.Get("addr"), q.Get("send")))
}

// dialPatience is how long connect waits, less than the client that asked. An
// emulated guest on a machine with 40 processes for two CPUs was seen to stand
// still for 9 s, on every way immediately.
const dialPatience = 12 * time.Second

// connect sends a line and returns the first answer.
func connect(network, address, send string) (res result) {
	c, err := net.DialTimeout(network, address, dialPatience)
	if err != nil {
		return result{Error: err.Error()}
	}
	defer c.Close() //nolint:errcheck // the result is complete
	res.Local, res.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
	_ = c.SetDeadline(time.Now().Add(dialPatience))
	if send == "" {
		send = "hello"
	}
	if _, err := fmt.Fprintf(c, "%s\n", send); err != nil {
		res.Error = err.Error()
		return res
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	res.Answer = string(buf[:n])
	if err != nil && n == 0 {
		res.Error = err.Error()
	}
	return res
}
