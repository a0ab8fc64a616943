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

// Each target is asked every interval, one question at a time, for at most
// watchLimit.
const (
	interval   = 50 * time.Millisecond
	watchLimit = 15 * time.Minute
)

// watched is what was seen of one target.
type watched struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Sent   int    `json:"sent"`
	Failed int    `json:"failed"`
	// First is the first failure.
	First string `json:"first,omitempty"`
	// LongestMS is the longest time between two good answers.
	LongestMS int64 `json:"longestMilliseconds"`
}

// watch asks every target again and again until standard input ends, and prints
// what came of it as a JSON list. A target is
//
//	http://...   a new connection each time
//	keep+http://...   one connection for all, which is never opened again
//	tcp://ADDRESS, udp://ADDRESS
//
// The answer must have status 200, or be there; one with "error" in it, as the
// guest's /dial has, is a failure.
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

// asker returns what asks the target once.
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

// askOne returns what asks a web server over one connection, which is opened
// with the first question and never again. (The client of net/http gives a
// connection up when the machine is so busy that it learns late of its
// writing.)
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

// check reads an answer to its end.
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
