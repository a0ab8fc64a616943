// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Each target is requested once per interval, one request at a time, for at
// most watchLimit.
const (
	interval   = 50 * time.Millisecond
	watchLimit = 15 * time.Minute
)

// watched contains the results for one target.
type watched struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Sent   int    `json:"sent"`
	Failed int    `json:"failed"`
	// First is the first failure.
	First string `json:"first,omitempty"`
	// LongestMS is the longest time between two successful responses.
	LongestMS int64 `json:"longestMilliseconds"`
}

// watch sends requests to every target until standard input is closed, and
// prints the results as a JSON list. A target is
//
//	http://...   a new connection each time
//	keep+http://...   one connection for all, which is never opened again
//	tcp://ADDRESS, udp://ADDRESS
//
// An HTTP response must have status 200. A TCP or UDP target must respond. A
// response that contains "error", like the guest's response to /dial, is a
// failure.
func watch(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), watchLimit)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	list := make([]watched, len(args))
	var wg sync.WaitGroup
	for i, arg := range args {
		name, target, ok := strings.Cut(arg, "=")
		if !ok {
			cancel()
			return fmt.Errorf("%q is not NAME=TARGET", arg)
		}
		list[i] = watched{Name: name, Target: target}
		once, err := asker(target)
		if err != nil {
			cancel()
			return err
		}
		wg.Go(func() { list[i].run(ctx, once) })
	}
	wg.Wait()
	cancel()
	return json.NewEncoder(os.Stdout).Encode(list)
}

func (w *watched) run(ctx context.Context, once func() error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	good := time.Now()
	for {
		w.Sent++
		err := once()
		if err == nil {
			w.LongestMS = max(w.LongestMS, time.Since(good).Milliseconds())
			good = time.Now()
		} else {
			w.Failed++
			if w.First == "" {
				w.First = time.Now().UTC().Format(time.StampMilli) + " " + err.Error()
			}
		}
		select {
		case <-ctx.Done():
			w.LongestMS = max(w.LongestMS, time.Since(good).Milliseconds())
			return
		case <-tick.C:
		}
	}
}

// asker returns a function that sends one request to the target.
func asker(target string) (func() error, error) {
	scheme, address, _ := strings.Cut(target, "://")
	switch scheme {
	case "http":
		client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
		return func() error { return fetch(client, target) }, nil
	case "keep+http":
		return askOne("http://" + address)
	case "tcp", "udp":
		return func() error { _, err := ask(scheme, address, "watch"); return err }, nil
	}
	return nil, fmt.Errorf("target %q: want http://, keep+http://, tcp:// or udp://", target)
}

// askOne returns a function that sends requests to a web server over one
// connection, which is opened by the first request and never reopened. (The
// client of net/http closes a connection if a busy machine delays the
// notification that a request was written.)
func askOne(url string) (func() error, error) {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	address := request.URL.Host
	if request.URL.Port() == "" {
		address += ":80"
	}
	var c net.Conn
	var answers *bufio.Reader
	return func() (err error) {
		if c == nil {
			if c, err = net.DialTimeout("tcp", address, timeout); err != nil {
				return err
			}
			answers = bufio.NewReader(c)
		}
		if err := errors.Join(c.SetDeadline(time.Now().Add(timeout)), request.Write(c)); err != nil {
			return err
		}
		r, err := http.ReadResponse(answers, request)
		return check(r, err)
	}, nil
}

func fetch(client *http.Client, url string) error { return check(client.Get(url)) }

// check reads a response completely.
func check(r *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return err
	case r.StatusCode != http.StatusOK:
		return fmt.Errorf("status %s", r.Status)
	case strings.Contains(string(body), `"error"`):
		return fmt.Errorf("the guest: %s", strings.TrimSpace(string(body)))
	}
	return nil
}
