package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// nothing verifies and delivers at once.
type nothing struct{}

func (nothing) Verify(context.Context, string, secret.Value, netip.Addr) (message.JID, error) {
	return me, nil
}
func (nothing) VerifyToken(context.Context, string, secret.Value, netip.Addr) (*token.Token, error) {
	return &token.Token{Owner: me}, nil
}
func (nothing) Deliver(_ context.Context, r message.Request) ([]message.Outcome, error) {
	return []message.Outcome{{Status: message.Delivered}}, nil
}
func (nothing) Find(context.Context, message.JID, string) ([]message.Record, error) { return nil, nil }
func (nothing) Overview(context.Context, message.JID, int) message.Overview {
	return message.Overview{}
}

// BenchmarkRequest is the target's ratio: a request over a connection that
// stays, to a bare handler and to ours.
func BenchmarkRequest(b *testing.B) {
	ours := New(Options{Path: "/msg", MaxBody: 65536, Hosts: []string{"example.com"}, ComponentDomain: "post.example.com",
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}, nothing{}, nothing{}, nil)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	for _, test := range []struct {
		name    string
		handler http.Handler
	}{{"bare", bare}, {"posthorn", ours}} {
		b.Run(test.name, func(b *testing.B) { benchmarkServer(b, test.handler) })
	}
}

// benchmarkServer asks over 64 connections that stay. The load generator is as
// little as can be, for what it costs flatters the ratio.
func benchmarkServer(b *testing.B, handler http.Handler) {
	s := httptest.NewServer(handler)
	defer s.Close()
	request := []byte(lines("Server@host has just crashed!", "POST /msg/user HTTP/1.1", "Host: localhost", "Content-Type: text/plain", "Authorization: {auth}"))
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := skipAnswer(in); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// skipAnswer reads past one answer, which has to be a 201.
func skipAnswer(in *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 201 ")):
			return fmt.Errorf("answered %q", line)
		case len(line) == 2:
			_, err = in.Discard(length)
			return err
		}
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
}

// BenchmarkDecode is what a body costs, by its type, up to the message.
func BenchmarkDecode(b *testing.B) {
	const form = "multipart/form-data; boundary=b"
	part := func(name, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	for _, test := range []struct{ name, contentType, body string }{
		{"text", "text/plain", "Server@host has just crashed!"},
		{"text with its charset", "text/plain; charset=utf-8", "Server@host has just crashed!"},
		{"form", "application/x-www-form-urlencoded", "to=user&subject=Alert&body=Server%40host+has+just+crashed%21"},
		{"form that is text", "application/x-www-form-urlencoded", "Server@host has just crashed!"},
		{"multipart", form, part("to", "user") + part("subject", "Alert") + part("body", "Server@host has just crashed!") + "--b--"},
		{"JSON", "application/json", `{"to":"user","subject":"Alert","body":"Server@host has just crashed!"}`},
		{"JSON with HTML", "application/json", `{"to":"user","body":"Server@host","html":"<p>Server@<b>host</b> has <a href='https://example.com'>just</a> crashed!</p>"}`},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := decodeBody(test.contentType, []byte(test.body))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.message(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
