package component

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// BenchmarkDeliver is what a message costs from Deliver to its outcome, over TCP
// to a server that does nothing but return barriers.
func BenchmarkDeliver(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) { benchmarkDeliver(b, clients) })
	}
}

func benchmarkDeliver(b *testing.B, clients int) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	go returnBarriers(listener)
	c := New(Options{
		Domain: "post.example.com", Secret: secret.New("secret"), Hosts: []string{"example.com"}, Address: listener.Addr().String(),
		MaxStanza: 10000, ConfirmTimeout: 5 * time.Second, RoomIdle: time.Minute, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	for !c.Ready() {
		runtime.Gosched()
	}
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	deliver := func() {
		m := &message.Message{From: "me@example.com", To: "user@example.com", Type: message.Chat, ID: fmt.Sprint(n.Add(1)), Body: "Server@host has just crashed!"}
		if status, err := c.Deliver(context.Background(), m); status != message.Delivered || err != nil {
			b.Errorf("Deliver() = %q, %v", status, err)
		}
	}
	if clients == 1 {
		for range b.N {
			deliver()
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			deliver()
		}
	})
}

// returnBarriers is the least that a server can do. It looks for barriers in
// the bytes, so that what is measured is ours.
func returnBarriers(listener net.Listener) {
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	buf, kept := make([]byte, 1<<20), 0
	said, shaken := false, false
	for {
		n, err := conn.Read(buf[kept:])
		if err != nil {
			return
		}
		text := buf[:kept+n]
		var out []byte
		if !said {
			said = true
			out = append(out, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s1'>"...)
		}
		if !shaken && bytes.Contains(text, []byte("</handshake>")) {
			shaken = true
			out = append(out, "<handshake/>"...)
		}
		for {
			end := bytes.IndexByte(text, '>')
			if end < 0 {
				break
			}
			if bytes.HasSuffix(text[:end+1], []byte("</stream:stream>")) {
				return
			}
			out = appendReturned(out, text[:end+1])
			text = text[end+1:]
		}
		kept = copy(buf, text)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// appendReturned answers the tag of a barrier, or of one of the questions by
// which the component finds out how it may speak.
func appendReturned(out, tag []byte) []byte {
	id := attribute(tag, " id='")
	switch {
	case bytes.HasPrefix(tag, []byte("<iq ")):
		return fmt.Appendf(out, "<iq type='get' from='post.example.com' to='post.example.com' id='%s'/>", id)
	case bytes.HasPrefix(tag, []byte("<message from='posthorn-")):
		from, to := attribute(tag, " from='"), attribute(tag, " to='")
		kind := "chat"
		if string(to) != "post.example.com" {
			from, to, kind = to, from, "error"
		}
		return fmt.Appendf(out, "<message from='%s' to='%s' type='%s' id='%s'/>", from, to, kind, id)
	}
	return out
}

func attribute(tag []byte, start string) []byte {
	_, rest, _ := bytes.Cut(tag, []byte(start))
	value, _, _ := bytes.Cut(rest, []byte("'"))
	return value
}
