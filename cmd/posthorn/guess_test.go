package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// clientAt sends from an address of this machine.
func clientAt(t *testing.T, address string) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// postFrom sends a text to user@example.com by that client, and gives the status.
func (h *posthorn) postFrom(client *http.Client, user, password, text string, header ...string) (int, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, h.URL+"/msg/user@example.com", strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	request.SetBasicAuth(user, password)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// TestGuessing: who tries many passwords from one address finds nothing out, and
// keeps nobody out, although nothing is remembered here and the server is asked
// about the owner's each time. `make soak` tries ten thousand.
func TestGuessing(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { guessing(t, p, 1000) })
}

func guessing(t *testing.T, p *xmpptest.Server, guesses int) {
	h := startPosthorn(t, p, "auth:\n", "auth:\n  cache: {ttl: 0s, stale_ttl: 0s}\n").ready(t)
	guesser, owner := clientAt(t, "127.0.0.2"), clientAt(t, "127.0.0.1")
	var statuses [600]atomic.Int64
	var all sync.WaitGroup
	left := make(chan int)
	for range 32 {
		all.Go(func() {
			for n := range left {
				status, err := h.postFrom(guesser, "me@example.com", fmt.Sprint("guess-", n), "guessed")
				if err != nil {
					t.Error(err)
					continue
				}
				statuses[status].Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range guesses {
			left <- n
		}
		close(left)
		all.Wait()
	}()
	sent, slowest := 0, time.Duration(0)
	for going := true; going; sent++ {
		select {
		case <-done:
			going = false
		default:
		}
		began := time.Now()
		if status, err := h.postFrom(owner, "me@example.com", password, fmt.Sprint(sent)); status != http.StatusCreated {
			t.Errorf("the owner's message %d is answered %d, %v", sent, status, err)
		}
		slowest = max(slowest, time.Since(began))
	}
	refused := int(h.metric(t, `posthorn_auth_probes_total{outcome="refused"}`))
	wrong, slow := int(statuses[http.StatusUnauthorized].Load()), int(statuses[http.StatusTooManyRequests].Load())
	t.Logf("%d guesses: %d were answered 401, %d 429; the server was asked about %d; the owner sent %d messages, the slowest took %v", guesses, wrong, slow, refused, sent, slowest)
	// Ten at once, and one more at each half minute of a slow machine.
	if wrong+slow != guesses || wrong > 20 || refused > 20 || refused == 0 {
		t.Error("that is not a handful, or some had another answer")
	}
	if sent < 10 {
		t.Error("the owner was hardly there")
	}
	if n := strings.Count(h.log.String(), `msg="too many failed logins"`); n != 1 {
		t.Errorf("%d lines say that somebody is throttled", n)
	}
	found := failedLogins(t, h.log.String())
	if len(found) != wrong {
		t.Errorf("fail2ban finds %d failed logins of %d", len(found), wrong)
	}
	for _, address := range found {
		if address != "127.0.0.2" {
			t.Errorf("fail2ban would ban %s", address)
		}
	}
}

// TestGuessingThroughProxy: behind a proxy that is trusted, clients are told apart
// by its word, and by nobody else's; and hostile names are nobody's address.
func TestGuessingThroughProxy(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p, "http:\n", "http:\n  trusted_proxies: [127.0.0.1, unix]\n").ready(t)
	proxy := clientAt(t, "127.0.0.1")
	const guesser, owner = "1.2.3.9, 203.0.113.7", "1.2.3.9, 198.51.100.7"
	for n := range 12 {
		want := http.StatusUnauthorized
		if n >= 10 {
			want = http.StatusTooManyRequests
		}
		if status, err := h.postFrom(proxy, "me", fmt.Sprint("guess", n), "x", "X-Forwarded-For", guesser); status != want {
			t.Errorf("guess %d is answered %d, %v", n, status, err)
		}
	}
	if status, err := h.postFrom(proxy, "me", password, "x", "X-Forwarded-For", owner, "Forwarded", "for=203.0.113.7"); status != http.StatusCreated {
		t.Errorf("the owner is answered %d, %v", status, err)
	}
	for _, name := range hostile {
		if _, err := h.postFrom(proxy, name, "x", "x", "X-Forwarded-For", "203.0.113.8"); err != nil {
			t.Error(err)
		}
	}
	found := failedLogins(t, h.log.String())
	if len(found) < 12 {
		t.Errorf("fail2ban finds %v", found)
	}
	for _, address := range found {
		if !netip.MustParsePrefix("203.0.113.0/24").Contains(netip.MustParseAddr(address)) {
			t.Errorf("fail2ban would ban %s", address)
		}
	}
}

// TestRateLimit: who sends more than that is told so.
func TestRateLimit(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p, "limits: {messages_per_second: 0}", "limits: {messages_per_second: 1, burst: 3}").ready(t)
	var got []int
	for range 10 {
		got = append(got, h.mustPost(t, "/msg/user", "x", nil).status)
	}
	if got[0] != http.StatusCreated || got[2] != http.StatusCreated || got[9] != http.StatusTooManyRequests {
		t.Errorf("answered %v", got)
	}
}
