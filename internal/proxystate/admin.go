// SPDX-License-Identifier: Apache-2.0

package proxystate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// errAnswer indicates an answer that is not from Envoy's administration interface.
var errAnswer = errors.New("unexpected answer")

// maxHead is the maximum length of the status line and the headers.
const maxHead = 16 << 10

// admin is Envoy's administration interface. It opens a connection for each
// request, and does not use net/http, which would triple the size of the privileged
// program.
type admin struct {
	dial     Dial
	deadline time.Time
}

// get sends a request and decodes the answer.
func (a admin) get(path string, decode func(io.Reader) error) error {
	endpoint, _, _ := strings.Cut(path, "?")
	err := a.exchange(path, decode)
	// The text of a network error contains the port of the client.
	if n, ok := errors.AsType[*net.OpError](err); ok {
		err = n.Err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	return nil
}

func (a admin) exchange(path string, decode func(io.Reader) error) error {
	// A zero timeout would mean none.
	conn, err := a.dial(max(time.Until(a.deadline), time.Millisecond))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(a.deadline); err != nil {
		return fmt.Errorf("set the deadline: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, AdminAddress); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	body, err := answer(conn)
	if err != nil {
		return err
	}
	return decode(body)
}

// answer reads the status line and the headers of an answer (RFC 9112), and returns
// a reader of its body.
func answer(from io.Reader) (io.Reader, error) {
	r := bufio.NewReader(&limited{from, maxAnswer})
	head, size := []string{}, 0
	for {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		if size += len(line); size > maxHead {
			return nil, fmt.Errorf("%w: headers longer than %d bytes", errAnswer, maxHead)
		}
		if line == "" {
			break
		}
		head = append(head, line)
	}
	if len(head) == 0 || !strings.HasPrefix(head[0], "HTTP/1.1 200") {
		return nil, fmt.Errorf("%w: no status 200", errAnswer)
	}
	for _, line := range head[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "transfer-encoding":
			if !strings.EqualFold(value, "chunked") {
				return nil, fmt.Errorf("%w: unknown transfer encoding", errAnswer)
			}
			return &chunked{from: r}, nil
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("%w: invalid length", errAnswer)
			}
			return io.LimitReader(r, n), nil
		}
	}
	return r, nil
}

// readLine reads a line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("%w: %w", errAnswer, err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// chunked reads a body in chunks.
type chunked struct {
	from *bufio.Reader
	// left is the number of bytes that remain in the chunk.
	left int64
	// begun is set after the first chunk, whose end must be read before the next.
	begun, ended bool
}

func (c *chunked) Read(b []byte) (int, error) {
	if c.ended {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
		if c.ended {
			return 0, io.EOF
		}
	}
	n, err := c.from.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the size of the next chunk.
func (c *chunked) next() error {
	if c.begun {
		if end, err := readLine(c.from); err != nil || end != "" {
			return fmt.Errorf("%w: a chunk has no end", errAnswer)
		}
	}
	c.begun = true
	line, err := readLine(c.from)
	if err != nil {
		return err
	}
	digits, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 31)
	if err != nil {
		return fmt.Errorf("%w: invalid size of a chunk", errAnswer)
	}
	c.left, c.ended = int64(n), n == 0
	return nil
}
