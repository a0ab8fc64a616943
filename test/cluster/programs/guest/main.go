// SPDX-License-Identifier: Apache-2.0

// Command guest is the program that runs in the virtual machine of the tests.
// It reports the addresses of its clients and opens connections on request, so
// that tests can generate traffic in both directions:
//
//	8080/tcp  HTTP: "/" returns the client address that the guest observes;
//	          "/dial?network=tcp&addr=10.0.0.1:80&send=hello" connects from
//	          the guest and returns the response of the peer;
//	          "/get?url=http://web/" sends a request from the guest;
//	          "/slow?milliseconds=500" responds after a delay;
//	          "/flaky?key=a&fail=2" responds with 503 to the first two requests with a key;
//	          "/hold?name=a&addr=10.0.0.1:80" opens a connection that is kept busy,
//	          "/held?name=a" returns its state (package flow)
//	22/tcp    a banner, in place of an SSH server
//	9000/tcp  a banner, on a port that no manifest lists
//	9100/tcp  echoes lines
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

// banner is sent on port 22. There is no SSH server, because only the path to
// it is tested.
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

// name returns the value of guest.name on the kernel command line, by which
// tests distinguish guests that run the same image. It defaults to the host
// name.
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

// result is the response of /dial.
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

// dialPatience is the timeout of connect. It is shorter than the timeout of the
// client that sent the request. An emulated guest on a machine with 40
// processes on two CPUs was observed to stall for 9 s, on all paths at the same
// time.
const dialPatience = 12 * time.Second

// connect sends a line and returns the first response.
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
