package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestStopAnswersNewcomers: who has connected before posthorn stops is answered, also
// when the request comes after that; who says nothing is not waited for long.
func TestStopAnswersNewcomers(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, after string // what the client sends before posthorn stops, and then
	}{
		{"the request comes later", "", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"half of the request comes later", "GET / HTTP/1.1\r\nHo", "st: x\r\n\r\n"},
		{"nothing comes", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := newServer(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), slog.New(slog.DiscardHandler))
			served, stopped := make(chan error, 1), make(chan error, 1)
			go func() { served <- s.serve() }()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = fmt.Fprint(conn, test.before)
			xmpptest.Wait(t, 5*time.Second, "the connection is accepted", s.newcomers.any)
			go func() { stopped <- stopAll([]*server{s}) }()
			<-s.ended
			_, _ = fmt.Fprint(conn, test.after)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if answered := err == nil && response.StatusCode == http.StatusNoContent; answered != (test.after != "") {
				t.Errorf("the answer is %v, %v", response, err)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
