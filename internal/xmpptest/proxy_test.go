package xmpptest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestProxy: what is said comes back by way of an echo server, or not.
func TestProxy(t *testing.T) {
	p := StartProxy(t, startEcho(t))
	conn := dialProxy(t, p)
	for _, test := range []struct {
		name     string
		to, from Wire
	}{
		{"good", Wire{}, Wire{}},
		{"delayed", Wire{Delay: time.Millisecond}, Wire{Delay: time.Millisecond}},
		{"single bytes", Wire{Single: true}, Wire{Single: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.Set(test.to, test.from)
			wantEcho(t, conn, test.name)
		})
	}
	for name, wires := range map[string][2]Wire{"stalled to": {{Stalled: true}, {}}, "stalled from": {{}, {Stalled: true}}} {
		t.Run(name, func(t *testing.T) {
			p.Set(wires[0], wires[1])
			said := wantSilence(t, conn)
			p.Set(Wire{}, Wire{})
			if _, err := io.ReadFull(conn, make([]byte, len(said))); err != nil {
				t.Fatalf("what was said meanwhile is lost: %v", err)
			}
		})
	}
	p.Set(Wire{Stalled: true}, Wire{Stalled: true})
	p.Cut()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the cut: %v", err)
	}
	p.Set(Wire{}, Wire{})
	conn = dialProxy(t, p)
	wantEcho(t, conn, "another")
	p.Reset()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the reset: %v", err)
	}
	conn = dialProxy(t, p)
	wantEcho(t, conn, "another")
	p.Refuse(true)
	for _, refused := range []net.Conn{conn, dialProxy(t, p)} {
		if _, err := refused.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("while it refuses: %v", err)
		}
	}
	p.Refuse(false)
	old := dialProxy(t, p)
	wantEcho(t, old, "old")
	p.Abandon()
	wantSilence(t, old)
	wantEcho(t, dialProxy(t, p), "new")
	if p.Accepted() != 6 {
		t.Errorf("%d connections, want 6", p.Accepted())
	}
}

// wantSilence says something and hears nothing.
func wantSilence(t *testing.T, conn net.Conn) (said string) {
	t.Helper()
	said = "anybody there?"
	_, _ = io.WriteString(conn, said)
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := conn.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	return said
}

func startEcho(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
	})
	return l.Addr().String()
}

func dialProxy(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	return conn
}

func wantEcho(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	got := make([]byte, len(text))
	if _, readErr := io.ReadFull(conn, got); err != nil || readErr != nil || string(got) != text {
		t.Fatalf("said %q, heard %q: %v, %v", text, got, err, readErr)
	}
}
