package component

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// TestAliveWithoutServer: whatever the server does, or does not, posthorn is not
// to blame for it.
func TestAliveWithoutServer(t *testing.T) {
	for _, test := range []struct {
		name   string
		server *server
		change func(*Options)
	}{
		{"well", &server{}, func(*Options) {}},
		{"away", &server{}, func(o *Options) {
			o.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("refused") }
		}},
		{"does not answer", &server{}, func(o *Options) {
			o.Dial = func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		}},
		{"ends each stream at once", &server{connect: func(int, *peer) bool { return false }}, func(*Options) {}},
		{"refuses the component", &server{connect: func(_ int, p *peer) bool {
			p.reader = stream.NewReader(p.conn, stream.Limits{Size: 1 << 20, Depth: 32})
			_, _ = p.reader.Open()
			p.say(`<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s1'>`)
			p.streamError("host-unknown")
			return false
		}}, func(*Options) {}},
		{"gives the domain to another", &server{greet: func(_ int, p *peer) { p.streamError("conflict") }}, func(*Options) {}},
		{"falls silent", &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return p.barriers > 3 }}, func(*Options) {}},
		{"lets us speak for nobody", &server{deaf: true}, func(*Options) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := test.server.start(t, test.change)
				for range 10 * 60 {
					time.Sleep(time.Second)
					if !c.Alive() {
						t.Fatal("not alive")
					}
				}
			})
		})
	}
}

// TestNotAliveWhenStuck: a goroutine that hangs is noticed within a minute and a half.
func TestNotAliveWhenStuck(t *testing.T) {
	for _, test := range []struct {
		name  string
		stick func(c *Component, stuck func())
	}{
		{"the writer", func(c *Component, stuck func()) { c.opts.Changed = stuck }},
		{"the reader", func(c *Component, stuck func()) {
			time.AfterFunc(2*time.Second, func() {
				_, _ = c.Submit(text("user@example.com", "m"), func(message.Status, error) { stuck() })
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New((&server{}).options(t))
				free := make(chan struct{})
				test.stick(c, func() { <-free })
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { c.Run(ctx) })
				time.Sleep(90 * time.Second)
				if c.Alive() {
					t.Error("alive")
				}
				close(free)
				time.Sleep(time.Minute)
				if !c.Alive() {
					t.Error("not alive again")
				}
				cancel()
				running.Wait()
			})
		})
	}
}
