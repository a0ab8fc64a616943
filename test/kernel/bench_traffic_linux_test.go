// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/requirement"
)

// Ports of the benchmark's servers in the guest: one behind the proxy, and one
// that bypasses the proxy and that KubeVirt always forwards.
const (
	benchMeshPort   = meshPort
	benchDirectPort = sshPort
)

// transferred is the number of bytes that a throughput benchmark sends per
// iteration.
const transferred = 32 << 20

// BenchmarkTraffic sends the same traffic in turn through two pods that differ
// only in meshvm's table. It reports the medians with the table and their
// ratios to the medians without the table. The proxy is Envoy.
//
//	connect  open a connection, send a byte, and receive it back
//	round    send a byte on an open connection and receive it back
//	send     32 MiB to the guest, until the guest has received all of it
func BenchmarkTraffic(b *testing.B) {
	without, with := trafficLab(b), trafficLab(b)
	with.apply(plan())
	for _, port := range []int{benchMeshPort, benchDirectPort} {
		way := map[int]string{benchMeshPort: "proxied", benchDirectPort: "direct"}[port]
		if _, err := envoyProgram(); err != nil && port == benchMeshPort {
			b.Run(way, func(b *testing.B) { requirement.Kernel.Unmet(b, "Envoy is not available: %v", err) })
			continue
		}
		b.Run("connect/"+way, func(b *testing.B) {
			compareTraffic(b, without, with, func(l *lab) (took time.Duration) {
				l.in(l.peer, func() error {
					begin := time.Now()
					c, err := dialGuest(port)
					if err != nil {
						return err
					}
					roundTrip(b, c)
					took = time.Since(begin)
					return c.Close()
				})
				return took
			})
		})
		b.Run("round/"+way, func(b *testing.B) {
			conns := map[*lab]net.Conn{without: without.dialGuest(b, port), with: with.dialGuest(b, port)}
			compareTraffic(b, without, with, func(l *lab) time.Duration {
				begin := time.Now()
				roundTrip(b, conns[l])
				return time.Since(begin)
			})
		})
		b.Run("send/"+way, func(b *testing.B) {
			b.SetBytes(2 * transferred)
			compareTraffic(b, without, with, func(l *lab) time.Duration { return l.transfer(b, port) })
		})
	}
}

// trafficLab is a lab whose guest echoes data on two ports.
func trafficLab(b *testing.B) *lab {
	b.Helper()
	l := newLab(b)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(annotated)
	for _, p := range []int{benchMeshPort, benchDirectPort} {
		l.serveTCP(l.guest, guestIP, p, sendBack)
	}
	if program, err := envoyProgram(); err == nil {
		e := l.startEnvoy(b, program)
		b.Cleanup(func() { e.stop(b) })
	}
	return l
}

// sendBack echoes all data or, if the first byte is "s", sends a single byte
// after it has received everything.
func sendBack(c net.Conn) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return
	}
	if first[0] == 's' {
		_, _ = io.Copy(io.Discard, c)
		_, _ = c.Write(first)
		return
	}
	_, _ = c.Write(first)
	_, _ = io.Copy(c, c)
}

// compareTraffic measures in turn without and with the table.
func compareTraffic(b *testing.B, without, with *lab, measure func(*lab) time.Duration) {
	b.Helper()
	var stock, ours []time.Duration
	for b.Loop() {
		stock = append(stock, measure(without))
		ours = append(ours, measure(with))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(stock).Nanoseconds())/1e3, "µs-without")
	b.ReportMetric(float64(median(ours).Nanoseconds())/1e3, "µs-with")
	b.ReportMetric(float64(median(ours))/float64(median(stock)), "with/without")
}

// dialGuest opens a connection from the thread's network namespace.
func dialGuest(port int) (net.Conn, error) {
	return net.DialTimeout("tcp4", net.JoinHostPort(podIP, strconv.Itoa(port)), waitLimit)
}

// dialGuest opens a connection from outside.
func (l *lab) dialGuest(b *testing.B, port int) net.Conn {
	b.Helper()
	var c net.Conn
	l.in(l.peer, func() (err error) {
		c, err = dialGuest(port)
		return err
	})
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func roundTrip(b *testing.B, c net.Conn) {
	b.Helper()
	if _, err := c.Write([]byte("?")); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
}

// transfer sends the data and waits until the guest has received it.
func (l *lab) transfer(b *testing.B, port int) time.Duration {
	b.Helper()
	c, ok := l.dialGuest(b, port).(*net.TCPConn)
	if !ok {
		b.Fatal("not a TCP connection")
	}
	begin := time.Now()
	if _, err := c.Write([]byte("s")); err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range transferred / len(block) {
		if _, err := c.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, block[:1]); err != nil {
		b.Fatal(fmt.Errorf("the guest did not receive all data: %w", err))
	}
	took := time.Since(begin)
	_ = c.Close()
	return took
}
