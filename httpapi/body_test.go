package httpapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBodyOnTheWire: what is too large is refused before it is there, and what
// is broken is the client's mistake.
func TestBodyOnTheWire(t *testing.T) {
	head := "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nAuthorization: " + basic(me, password) + "\r\n"
	for _, test := range []struct {
		name, request string
		want          int
	}{
		{"declared too large", head + "Content-Length: 65537\r\n\r\nx", 413},
		{"declared far too large", head + "Content-Length: 9223372036854775807\r\n\r\n", 413},
		{"chunked too large", head + "Transfer-Encoding: chunked\r\n\r\n10001\r\n" + strings.Repeat("x", 65537), 413},
		{"largest", head + "Content-Length: 65536\r\n\r\n" + strings.Repeat("x", 65536), 201},
		{"largest chunked", head + "Transfer-Encoding: chunked\r\n\r\n10000\r\n" + strings.Repeat("x", 65536) + "\r\n0\r\n\r\n", 201},
		{"broken chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"no body at all", head + "\r\n", 422},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			got := wire(t, h.serve(t), test.request)
			checkAnswer(t, h, got)
			if got.status != test.want || (got.status == 413) && !got.closed {
				t.Fatalf("%d %v %s", got.status, got.header, got.body)
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		h := newHouse(nil)
		conn, err := net.Dial("tcp", h.serve(t).Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, head+"Content-Length: 10\r\n\r\nhello")
		_ = conn.(*net.TCPConn).CloseWrite()
		if got := readAnswer(t, bufio.NewReader(conn)); got.status != 400 || len(h.deliverer.take()) > 0 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	})
}

// A pipeListener gives a server the connections of a test's own making.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// TestBodyOfNobody: without credentials no byte of the body is read.
func TestBodyOfNobody(t *testing.T) {
	for _, test := range []struct {
		name   string
		header []string
		size   int64
		want   int
	}{
		{"none", nil, 10, 401},
		{"none, chunked", nil, -1, 401},
		{"malformed", []string{"Basic !!!"}, 10, 401},
		{"two", []string{basic(me, password), basic(me, password)}, 10, 400},
		{"none, and declared too large", nil, 65537, 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			r := httptest.NewRequest("POST", "/msg/user", unreadable{t})
			r.ContentLength = test.size
			r.Header["Authorization"] = test.header
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
			if checkAnswer(t, h, got); got.status != test.want {
				t.Fatalf("%d %s", got.status, got.body)
			}
		})
	}
	t.Run("no leave to send it", func(t *testing.T) {
		got := wire(t, newHouse(nil).serve(t), "POST /msg/user HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
		if got.status != 401 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	})
}

// unreadable is a body that is not to be read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(nil)
		server := &http.Server{Handler: h, ReadTimeout: 10 * time.Second}
		listener := make(pipeListener)
		go func() { _ = server.Serve(listener) }()
		ours, theirs := net.Pipe()
		listener <- theirs
		_ = ours.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(ours, "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nAuthorization: "+basic(me, password)+"\r\nContent-Length: 10\r\n\r\nhello")
		got := readAnswer(t, bufio.NewReader(ours))
		checkAnswer(t, h, got)
		if got.status != 408 || !got.closed || len(h.deliverer.take()) > 0 {
			t.Errorf("%d %v %s", got.status, got.header, got.body)
		}
		_ = ours.Close()
		close(listener)
		_ = server.Close()
	})
}
