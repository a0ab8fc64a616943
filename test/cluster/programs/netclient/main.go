// Command netclient is the pod outside the mesh that the scenario uses as a
// client and as a server:
//
//	netclient serve           7000 and 9999/tcp: name the client's address; 7000/udp: echo
//	netclient get URL         prints the body
//	netclient tcp ADDRESS [TEXT]   connects, sends, prints the first answer
//	netclient udp ADDRESS [TEXT]
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

const timeout = 5 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "netclient:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve()
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	case len(args) >= 2 && (args[0] == "tcp" || args[0] == "udp"):
		text := "hello"
		if len(args) > 2 {
			text = args[2]
		}
		return talk(args[0], args[1], text)
	}
	return errors.New("usage: netclient serve | get URL | tcp ADDRESS [TEXT] | udp ADDRESS [TEXT]")
}

func get(url string) error {
	client := http.Client{Timeout: timeout}
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // read to its end
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}

func talk(network, address, text string) error {
	c, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the program ends
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "%s\n", text); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	fmt.Println(string(buf[:n]))
	if n > 0 {
		return nil
	}
	return err
}

func serve() error {
	udp, err := net.ListenPacket("udp", ":7000")
	if err != nil {
		return err
	}
	go echo(udp)
	failed := make(chan error)
	for _, port := range []string{":7000", ":9999"} {
		tcp, err := net.Listen("tcp", port)
		if err != nil {
			return err
		}
		go func() { failed <- answer(tcp) }()
	}
	return <-failed
}

// answer tells each client the addresses of its connection.
func answer(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		log.Printf("tcp connection from %s to %s", c.RemoteAddr(), c.LocalAddr())
		_, _ = fmt.Fprintf(c, "netclient: client=%s local=%s\n", c.RemoteAddr(), c.LocalAddr())
		_ = c.Close()
	}
}

func echo(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			log.Print(err)
			return
		}
		_, _ = c.WriteTo(fmt.Appendf(nil, "echo client=%s %s", from, buf[:n]), from)
	}
}
