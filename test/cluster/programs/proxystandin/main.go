//go:build linux

// Command proxystandin stands where Istio puts Envoy: in the launcher pod, as
// uid 1337, on Envoy's ports. It is no proxy of the mesh, it does no mTLS and
// knows no configuration; it forwards bytes and remembers what came by which
// way, so that tests can tell whether the NAT brought a connection to it:
//
//	15006  inbound: forwards to the original destination, from source address
//	       127.0.0.6, as Envoy's inbound passthrough cluster does
//	15001  outbound: forwards to the original destination
//	15021, 15020, 15090  health and statistics: answer 200
//	15000  GET /connections: what was seen, as JSON
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Connection is one entry of /connections.
type Connection struct {
	Time     time.Time `json:"time"`
	Listener string    `json:"listener"` // "inbound 15006" or "outbound 15001"
	Source   string    `json:"source"`
	Original string    `json:"original"` // the destination before the NAT
	Result   string    `json:"result"`
}

// journal remembers connections.
type journal struct {
	mu   sync.Mutex
	seen []Connection
}

// limit bounds the journal; the newest entries stay.
const limit = 1000

func (j *journal) add(c Connection) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, c)
	if len(j.seen) > limit {
		j.seen = j.seen[len(j.seen)-limit:]
	}
	log.Printf("%s: %s -> %s: %s", c.Listener, c.Source, c.Original, c.Result)
}

func (j *journal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	out := j.seen
	if out == nil {
		out = []Connection{}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func main() {
	j := &journal{}
	inbound, err := net.Listen("tcp4", ":15006")
	if err != nil {
		log.Fatal(err)
	}
	outbound, err := net.Listen("tcp4", ":15001")
	if err != nil {
		log.Fatal(err)
	}
	// Envoy's inbound passthrough cluster binds this address; Istio's rules
	// know packets from it as coming from the proxy.
	go accept(j, inbound, "inbound 15006", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)})
	go accept(j, outbound, "outbound 15001", nil)

	ok := http.NewServeMux()
	ok.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "stand-in of Envoy") })
	for _, port := range []string{"15020", "15021", "15090"} {
		go func() { log.Fatal(http.ListenAndServe(":"+port, ok)) }() //nolint:gosec // a test's server
	}
	admin := http.NewServeMux()
	admin.Handle("/connections", j)
	log.Fatal(http.ListenAndServe(":15000", admin)) //nolint:gosec // a test's server
}

func accept(j *journal, l net.Listener, name string, from *net.TCPAddr) {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go handle(j, c.(*net.TCPConn), name, from)
	}
}

// handle forwards one connection to where it was going.
func handle(j *journal, c *net.TCPConn, name string, from *net.TCPAddr) {
	defer c.Close() //nolint:errcheck // both sides are done
	entry := Connection{Time: time.Now(), Listener: name, Source: c.RemoteAddr().String()}
	dst, err := original(c)
	if err != nil {
		entry.Result = "no original destination: " + err.Error()
		j.add(entry)
		return
	}
	entry.Original = dst.String()
	if entry.Original == c.LocalAddr().String() {
		entry.Result = "refused: it was not redirected, but aimed at this port"
		j.add(entry)
		return
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	if from != nil {
		dialer.LocalAddr = from
	}
	peer, err := dialer.Dial("tcp4", dst.String())
	if err != nil {
		entry.Result = err.Error()
		j.add(entry)
		return
	}
	defer peer.Close() //nolint:errcheck // both sides are done
	entry.Result = "forwarded from " + peer.LocalAddr().String()
	j.add(entry)
	join(c, peer.(*net.TCPConn))
}

// join copies both ways and passes ends of streams on.
func join(a, b *net.TCPConn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].CloseWrite()
		})
	}
	wg.Wait()
}

// original asks conntrack where the connection was going before a redirect.
// The kernel writes a sockaddr_in; IPv6Mreq is a struct of fitting size.
func original(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var out netip.AddrPort
	var optErr error
	err = raw.Control(func(fd uintptr) {
		var m *unix.IPv6Mreq
		if m, optErr = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); optErr != nil {
			optErr = errors.New("SO_ORIGINAL_DST: " + optErr.Error())
			return
		}
		b := m.Multiaddr
		address := fmt.Sprintf("%d.%d.%d.%d:%s", b[4], b[5], b[6], b[7], strconv.Itoa(int(b[2])<<8|int(b[3])))
		out, optErr = netip.ParseAddrPort(address)
	})
	return out, errors.Join(err, optErr)
}
