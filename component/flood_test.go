package component

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/stream"
)

// unasked are stanzas that nobody asked for; PAD is as long as one likes.
var unasked = []struct{ name, stanza string }{
	{"presence", `<presence from='a@b/c' to='x@post.example.com'><status>PAD</status></presence>`},
	{"questions", `<iq type='get' from='a@b/c' to='post.example.com' id='q'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`},
	{"results", `<iq type='result' from='a@b/c' to='post.example.com' id='q'>PAD</iq>`},
	{"messages", `<message from='a@b/c' to='post.example.com' id='a1'><body>PAD</body></message>`},
	{"errors", `<message type='error' from='a@b/c' to='post.example.com' id='a1'>PAD<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`},
	{"what does not decode", `<message from='a@b/c' to='post.example.com'>PAD&x;</message>`},
}

// TestFlood: stanzas that nobody asked for cost bounded memory and no
// goroutines, and the message among them has its true outcome, whether the
// server takes the answers or not. `make soak` has the long form.
func TestFlood(t *testing.T) {
	var mixed strings.Builder
	for _, u := range unasked {
		mixed.WriteString(strings.ReplaceAll(u.stanza, "PAD", strings.Repeat("x", 1000)))
	}
	flood(t, mixed.String(), 500)
}

func flood(t *testing.T, stanzas string, times int) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprint("the server reads: ", reads), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := flooder{stanzas: stanzas, times: times, reads: reads}
				c := (&server{onBarrier: f.onBarrier}).start(t)
				up(t, c)
				goroutines, before := runtime.NumGoroutine(), heap()
				wantDelivered(t, c, "a1")
				if f.goroutines > goroutines+1 { // the one that reads
					t.Errorf("%d goroutines, before the flood %d", f.goroutines, goroutines)
				}
				if f.heap > before+2<<20 {
					t.Errorf("the heap has grown by %d KiB", (f.heap-before)>>10)
				}
				questions := strings.Count(stanzas, "'get'") * times
				dropped := testutil.ToFloat64(c.metrics.dropped.WithLabelValues("flood"))
				if !reads && int(dropped) < questions-200 {
					t.Errorf("%v questions were dropped of %d that could not be answered", dropped, questions)
				}
			})
		})
	}
}

// A flooder pours out stanzas before it answers the first barrier after a
// message.
type flooder struct {
	stanzas string
	times   int
	reads   bool // what the component says meanwhile

	goroutines int    // at the height of it
	heap       uint64 // likewise, in bytes
}

func (f *flooder) onBarrier(_ int, p *peer, e *stream.Element) bool {
	switch {
	case p.barriers != 2:
		return false
	case f.reads:
		go f.pour(p, e.Attr("id"))
	default:
		f.pour(p, e.Attr("id"))
	}
	return true
}

func (f *flooder) pour(p *peer, barrier string) {
	many := strings.Repeat(f.stanzas, 100)
	for range f.times / 100 {
		p.say("%s", many)
	}
	f.goroutines, f.heap = runtime.NumGoroutine(), heap()
	p.say(`<iq type='result' from='post.example.com' to='post.example.com' id='%s'/>`, barrier)
}

// heap is what is in use on it.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
