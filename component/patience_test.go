package component

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

func TestPatience(t *testing.T) {
	want := patience{keepAlive: 7 * time.Second, stalled: 20 * time.Second, tick: time.Second, handshake: 10 * time.Second, write: 10 * time.Second, batch: batchMessages}
	if diff := cmp.Diff(want, newPatience(0), cmp.AllowUnexported(patience{})); diff != "" {
		t.Error(diff)
	}
	for _, all := range []time.Duration{3 * time.Second, 8 * time.Second, 30 * time.Second, time.Hour} {
		p := newPatience(all)
		for name, sum := range map[string]time.Duration{
			"nothing is said":       p.keepAlive + p.tick + p.stalled + p.tick + lastWords,
			"a barrier is lost":     p.stalled + p.tick + lastWords,
			"a write is stuck":      p.write + lastWords,
			"there is no handshake": p.handshake,
		} {
			if sum > all || p.tick <= 0 || p.batch < 1 || p.batch > batchMessages {
				t.Errorf("with %v in all, and when %s: %v", all, name, sum)
			}
		}
	}
}

// TestBusyServer: a server that takes its time for each message is not given up while it
// works, however short the patience: all that it was about to do would be sent again.
func TestBusyServer(t *testing.T) {
	for _, all := range []time.Duration{0, 5 * time.Second} {
		t.Run(all.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				work := make(chan func(), 1024) // what it has read and not done
				s := &server{}
				s.onMessage = func(int, *peer, *stream.Element) bool {
					work <- func() { time.Sleep(25 * time.Millisecond) }
					return true
				}
				s.onBarrier = func(_ int, p *peer, e *stream.Element) bool {
					work <- func() { p.say(`<iq type='get' from='post.example.com' to='post.example.com' id='%s'/>`, e.Attr("id")) }
					return true
				}
				var working sync.WaitGroup
				working.Go(func() {
					for do := range work {
						do()
					}
				})
				t.Cleanup(func() { close(work); working.Wait() })
				c := s.start(t, func(o *Options) { o.Patience = all })
				time.Sleep(5 * time.Second)
				var told sync.WaitGroup
				for i := range 1000 {
					told.Add(1)
					m := text("user@example.com", fmt.Sprint(i))
					_, err := c.Submit(m, func(status message.Status, err error) {
						if err != nil {
							t.Errorf("%d: %v", i, err)
						}
						told.Done()
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				told.Wait()
				if n := s.dials(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}
