package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// bubble runs a test in a bubble of its own, with a Delivery on an empty keeper.
func bubble(t *testing.T, test func(*testing.T, *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := build(t, newMemory(), nil)
		defer func() { h.stop() }()
		synctest.Wait()
		test(t, h)
	})
}

// after lets some time pass, and everything that follows from it happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want compares, in words.
func want(t *testing.T, what string, got, wanted any) {
	t.Helper()
	if diff := cmp.Diff(fmt.Sprint(wanted), fmt.Sprint(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// sendNow delivers one message and lets everything happen.
func (h *house) sendNow(from, to message.JID, id string) *reply {
	p := h.send(context.Background(), one(letter(from, to, id)))
	synctest.Wait()
	return p
}

// restart ends the Delivery as kill -9 does, and starts another.
func (h *house) restart() {
	h.stream.giveUp()
	disk, stop := h.keeper.die(), h.stop
	next := build(h.t, disk, nil)
	h.Delivery, h.stream, h.keeper = next.Delivery, next.stream, next.keeper
	h.stop = func() { stop(); next.stop() }
	synctest.Wait()
}

// TestOutcomes: what a sender is answered, and what is kept, by what the stream
// says: with a keeper, with none, and with one that fails.
func TestOutcomes(t *testing.T) {
	tests := []struct {
		name               string
		told               message.Outcome
		answer             string
		kept               message.State // "": is not
		without, whenFails string
	}{
		{"delivered", message.Outcome{Status: message.Delivered}, "delivered", "", "delivered", "delivered"},
		{"routed", message.Outcome{Status: message.Routed}, "routed", "", "routed", "routed"},
		{"refused", failed(fault.Undeliverable), "undeliverable", "", "undeliverable", "undeliverable"},
		{"refused, conflict", failed(fault.Conflict), "conflict", "", "conflict", "conflict"},
		{"refused, may pass", passing(fault.Undeliverable), "queued", message.Waiting, "undeliverable", "undeliverable"},
		{"remote failed", failed(fault.RemoteFailed), "remote-failed", "", "remote-failed", "remote-failed"},
		{"remote failed, may pass", passing(fault.RemoteFailed), "queued", message.Waiting, "remote-failed", "remote-failed"},
		{"the stream ended", passing(fault.Unconfirmed), "queued", message.Queued, "unconfirmed", "unconfirmed"},
		{"a silent room", failed(fault.Unconfirmed), "queued", message.Unconfirmed, "unconfirmed", "unconfirmed"},
		{"poisoned", failed(fault.Rejected), "rejected", "", "rejected", "rejected"},
		{"not sent", passing(fault.Unavailable), "queued", message.Queued, "unavailable", "unavailable"},
		{"mute", failed(fault.Unavailable), "unavailable", "", "unavailable", "unavailable"},
		{"too large", failed(fault.TooLarge), "too-large", "", "too-large", "too-large"},
	}
	answer := func(h *house, o message.Outcome) *reply {
		p := h.sendNow(me, you, "a")
		h.stream.tell("a", o.Status, o.Err)
		synctest.Wait()
		return p
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				want(t, "answer", answer(h, test.told), test.answer)
				want(t, "kept", h.keeper.states()["a"], test.kept)
				checkBooks(t, h)
			})
			bubble(t, func(t *testing.T, h *house) {
				h.keeper.fail("*", true)
				want(t, "answer when the keeper fails", answer(h, test.told), test.whenFails)
				h.keeper.fail("*", false)
				want(t, "kept", h.keeper.states()["a"], "")
				checkBooks(t, h)
			})
			synctest.Test(t, func(t *testing.T) {
				h := build(t, nil, nil)
				defer h.stop()
				want(t, "answer without a keeper", answer(h, test.told), test.without)
			})
		})
	}
}

func failed(kind fault.Kind) message.Outcome {
	return message.Outcome{Err: fault.New(kind, "no")}
}

func passing(kind fault.Kind) message.Outcome {
	return message.Outcome{Err: fault.New(kind, "not now").MayPass()}
}

func TestQuietTimesTouchNoDisk(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.keeper.set(func(k *table) { k.putting = func([]message.Record) { t.Error("something was put into the store") } })
		for i := range 10 {
			p := h.sendNow(me, you, fmt.Sprint(i))
			h.stream.deliver()
			synctest.Wait()
			want(t, "answer", p, "delivered")
		}
	})
}

// TestWithoutKeeper: the messages of one request are handed over before the first
// has its outcome.
func TestWithoutKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, nil, nil)
		defer h.stop()
		p := h.send(t.Context(), keyed("key", "of it", letter(me, "a@example.com", "a"), letter(me, "b@example.com", "b"), letter(me, "c@example.com", "c")))
		synctest.Wait()
		ids := h.stream.onStream()
		slices.Sort(ids)
		want(t, "on the stream", ids, "[a b c]")
		h.stream.tell("b", "", failed(fault.Undeliverable).Err)
		h.stream.deliver()
		<-p.done
		want(t, "answers", p, "delivered undeliverable delivered")

		p = h.sendNow(me, you, "d")
		h.stream.write(1)
		after(5 * time.Second)
		want(t, "answer without an outcome", p, "unconfirmed")
		h.stream.deliver()

		p = h.sendNow(me, you, "e")
		after(5 * time.Second)
		want(t, "answer for what the stream did not take", p, "unavailable")
		want(t, "still on the stream", h.stream.onStream(), "[]")
	})
}

// TestDownAndUp: what is sent while there is no stream goes in order when there is
// one, and says how old it is.
func TestDownAndUp(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		began := time.Now()
		for i := range 3 {
			want(t, "answer", h.sendNow(me, you, fmt.Sprint(i)), "queued")
		}
		after(time.Minute)
		want(t, "on the stream", h.stream.onStream(), "[]")
		h.stream.connect()
		synctest.Wait()
		want(t, "on the stream", h.stream.onStream(), "[0 1 2]")
		first := h.stream.queue[0].m
		if !first.Kept || !first.Accepted.Equal(began) {
			t.Errorf("kept %v, accepted %v; it was %v", first.Kept, first.Accepted, began)
		}
		h.stream.deliver()
		synctest.Wait()
		want(t, "states", h.keeper.states(), map[string]message.State{"0": "delivered", "1": "delivered", "2": "delivered"})
		checkBooks(t, h)
	})
}

// TestLine: a message waits behind those of its sender to its recipient, though not
// for its answer, and no other does.
func TestLine(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		h.sendNow(me, you, "1")
		h.stream.connect()
		synctest.Wait()
		second := h.sendNow(me, you, "2")
		other := h.sendNow(me, "other@example.com", "3")
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "queued", "2": "queued"})
		want(t, "on the stream", h.stream.onStream(), "[1 2 3]")
		if m := h.stream.queue[1].m; !m.Accepted.IsZero() || !m.Kept {
			t.Errorf("kept %v, accepted %v, though its sender waits", m.Kept, m.Accepted)
		}
		h.stream.deliver()
		synctest.Wait()
		want(t, "answers", []*reply{second, other}, "[delivered delivered]")
		h.sendNow(me, you, "4")
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "delivered", "2": "delivered"})
		h.stream.deliver()
	})
}

// TestOverdue: a message whose outcome is not known in time is on disk before that
// is said, and goes again only after the end of its stream, before later ones.
func TestOverdue(t *testing.T) {
	begin := func(t *testing.T, h *house) {
		h.sendNow(me, you, "1")
		h.stream.write(1)
		h.keeper.set(func(k *table) { k.latency = func() time.Duration { return time.Second } })
		after(5 * time.Second)
		want(t, "states, while it is written", h.keeper.states(), map[string]message.State{})
		h.keeper.set(func(k *table) { k.latency = nil })
		after(2 * time.Second)
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "queued"})
		want(t, "on the stream", h.stream.onStream(), "[1]")
	}
	t.Run("late", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			begin(t, h)
			h.stream.tell("1", message.Routed, nil)
			synctest.Wait()
			want(t, "states", h.keeper.states(), map[string]message.State{"1": "routed"})
			want(t, "attempts", h.keeper.all()[0].Attempts, 1)
			checkBooks(t, h)
		})
	})
	t.Run("never", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			begin(t, h)
			second := h.sendNow(me, you, "2")
			after(time.Minute)
			want(t, "answer", second, "queued")
			want(t, "on the stream", h.stream.onStream(), "[1 2]")
			h.stream.cut(true)
			h.stream.connect()
			after(time.Second)
			want(t, "on the stream", h.stream.onStream(), "[1 2]")
			want(t, "attempts", h.keeper.all()[0].Attempts, 1)
			h.stream.deliver()
		})
	})
	t.Run("while it is kept", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			p := h.sendNow(me, you, "1")
			h.stream.write(1)
			h.keeper.set(func(k *table) { k.putting = func([]message.Record) { h.stream.tell("1", message.Delivered, nil) } })
			after(5 * time.Second)
			want(t, "answer", p, "queued")
			want(t, "states", h.keeper.states(), map[string]message.State{"1": "delivered"})
			checkBooks(t, h)
		})
	})
	t.Run("while keeping it fails", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			p := h.sendNow(me, you, "1")
			h.stream.write(1)
			h.keeper.set(func(k *table) { k.refuse = func() bool { return true } })
			h.keeper.set(func(k *table) { k.latency = func() time.Duration { return time.Second } })
			time.AfterFunc(5500*time.Millisecond, func() { h.stream.tell("1", message.Delivered, nil) })
			after(7 * time.Second)
			want(t, "answer", p, "delivered")
			h.keeper.set(func(k *table) { k.latency = nil })
		})
	})
}

// TestCut: what was on a stream that ended goes again, in order, before what came
// later; and the sender who waits still gets to know.
func TestCut(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		for i := range 80 {
			h.sendNow(me, you, fmt.Sprintf("%03d", i))
		}
		h.stream.connect()
		synctest.Wait()
		for n := range 10 {
			h.stream.write(20 * n)
			for range 5 {
				h.stream.tell(h.stream.onStream()[0], message.Delivered, nil)
			}
			h.stream.cut(n%2 == 0)
			h.sendNow(me, you, fmt.Sprint("later ", n))
			h.stream.connect()
			after(time.Second)
			if ids := h.stream.onStream(); !slices.IsSorted(ids) || len(ids) != 80-5*(n+1)+n+1 {
				t.Fatalf("after %d cuts %d are on the stream: %v", n+1, len(ids), ids)
			}
		}
		h.stream.deliver()
		after(time.Second)
		checkBooks(t, h)
	})
}

// TestRetry: what bounced for a reason that may pass is tried again, while later
// ones pass it, and then tries no more.
func TestRetry(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		first := h.sendNow(me, you, "1")
		h.stream.tell("1", "", passing(fault.RemoteFailed).Err)
		synctest.Wait()
		want(t, "answer", first, "queued")
		h.sendNow(me, you, "2")
		h.stream.deliver()
		after(firstRetry + time.Second)
		want(t, "on the stream", h.stream.onStream(), "[1]")
		h.stream.tell("1", "", passing(fault.RemoteFailed).Err)
		after(2*firstRetry + time.Second)
		h.stream.tell("1", "", failed(fault.RemoteFailed).Err)
		synctest.Wait()
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "bounced"})
		want(t, "attempts", h.keeper.all()[0].Attempts, 3)
		checkBooks(t, h)
	})
}

func TestBackoff(t *testing.T) {
	for attempts, longest := range map[int]time.Duration{1: firstRetry, 2: 2 * firstRetry, 5: 16 * firstRetry, 8: longestRetry, 1000: longestRetry} {
		var most time.Duration
		for range 200 {
			most = max(most, backoff(attempts))
		}
		if most > longest || most < longest*8/10 {
			t.Errorf("after %d attempts it waits up to %v, and should up to %v", attempts, most, longest)
		}
	}
}

// TestNoBusyLoop: what is refused again and again is not tried as fast as can be.
func TestNoBusyLoop(t *testing.T) {
	tests := []struct {
		name  string
		after func(*house) // each millisecond
	}{
		{"the stream says later that it did not send it", func(h *house) {
			for _, id := range h.stream.onStream() {
				h.stream.tell(id, "", passing(fault.Unavailable).Err)
			}
		}},
		{"a bounce says conflict", func(h *house) {
			for _, id := range h.stream.onStream() {
				h.stream.tell(id, "", failed(fault.Conflict).Err)
			}
		}},
		{"the stream is full", func(h *house) { h.stream.set(func(s *stream) { s.full = true }) }},
		{"the host is mute", func(h *house) { h.stream.set(func(s *stream) { s.mute[me] = true }) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				h.stream.cut(false)
				h.sendNow(me, you, "1")
				test.after(h)
				h.stream.connect()
				for range 1000 {
					after(time.Millisecond)
					test.after(h)
				}
				if n := h.stream.submits; n > 8 {
					t.Errorf("submitted %d times in a second", n)
				}
			})
		})
	}
}

// TestExpiry: what is worth sending for a while only expires then, and the rest
// after delivery.keep; neither in silence.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		log := new(strings.Builder)
		h := build(t, newMemory(), func(o *Options, _ *stream) { o.Metrics, o.Log = registry, logTo(log) })
		defer h.stop()
		h.stream.cut(false)
		short := letter(me, you, "short")
		short.TTL = time.Minute
		h.send(t.Context(), one(short))
		h.sendNow(me, you, "long")
		after(59 * time.Second)
		want(t, "states", h.keeper.states(), map[string]message.State{"short": "queued", "long": "queued"})
		after(3 * time.Second)
		want(t, "states", h.keeper.states(), map[string]message.State{"short": "expired", "long": "queued"})
		after(72 * time.Hour)
		want(t, "states", h.keeper.states(), map[string]message.State{"long": "expired"})
		want(t, "expired", gathered(t, registry, "posthorn_delivery_expired_total"), 2)
		want(t, "lines in the log", strings.Count(log.String(), "a kept message expired"), 2)
		checkBooks(t, h)
		h.stream.connect()
		after(time.Second)
		want(t, "on the stream", h.stream.onStream(), "[]")
		after(25 * time.Hour)
		want(t, "states", h.keeper.states(), map[string]message.State{})
	})
}

// TestSilentRoom: what a room was silent about is not said again before there is
// another stream, whatever an administrator does beside.
func TestSilentRoom(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		h.sendNow(me, you, "1")
		h.stream.connect()
		synctest.Wait()
		h.stream.tell("1", "", failed(fault.Unconfirmed).Err)
		synctest.Wait()
		p := h.sendNow(me, you, "2")
		want(t, "on the stream", h.stream.onStream(), "[2]")
		h.stream.deliver()
		synctest.Wait()
		want(t, "answer of the next", p, "delivered")
		h.keeper.set(func(k *table) { k.changed = true })
		after(time.Hour)
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "unconfirmed"})
		h.keeper.fail("Select", true)
		h.stream.cut(true)
		h.stream.connect()
		after(10 * time.Second)
		h.keeper.fail("Select", false)
		after(3 * time.Second)
		want(t, "on the stream", h.stream.onStream(), "[1]")
		h.stream.deliver()
		synctest.Wait()
		checkBooks(t, h)
	})
}

// TestSilentRoomLate: it goes again on the next stream also where that begins while
// it is being kept.
func TestSilentRoomLate(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.keeper.set(func(k *table) {
			k.putting = func([]message.Record) {
				h.stream.cut(true)
				h.stream.connect()
				time.Sleep(time.Second)
			}
		})
		p := h.sendNow(me, you, "1")
		h.stream.tell("1", "", failed(fault.Unconfirmed).Err)
		after(3 * time.Second)
		want(t, "answer", p, "queued")
		want(t, "on the stream", h.stream.onStream(), "[1]")
		h.stream.deliver()
	})
}

// TestBounds: what is kept has bounds, and what is not any more counts no more.
func TestBounds(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		big := func(from message.JID, id string) *reply {
			m := letter(from, you, id)
			m.Body = strings.Repeat("x", 50<<10)
			p := h.send(context.Background(), keyed(id, "of it", m))
			synctest.Wait()
			return p
		}
		want(t, "answers", []*reply{big(me, "1"), big(me, "2"), big(me, "3")}, "[queued queued all unavailable]")
		for i := range 9 {
			from := message.JID(fmt.Sprintf("%d@example.com", i))
			want(t, "answers", []*reply{big(from, from.Local()+"a"), big(from, from.Local()+"b")}, "[queued queued]")
		}
		want(t, "answer when all is full", big("last@example.com", "4"), "all unavailable")
		h.stream.connect()
		synctest.Wait()
		h.stream.deliver()
		synctest.Wait()
		h.stream.cut(false)
		want(t, "answer", big(me, "3"), "queued")
		checkBooks(t, h)
		h.stream.connect()
		synctest.Wait()
		h.stream.deliver()
		synctest.Wait()
		h.stream.set(func(s *stream) { s.mute[me] = true }) // what was not sent then comes again, all at once
		want(t, "answers", []*reply{big(me, "5"), big(me, "6"), big(me, "7")}, "[unavailable unavailable unavailable]")
		h.stream.cut(false)
		want(t, "answers", []*reply{big(me, "5"), big(me, "6"), big(me, "7")}, "[queued queued unavailable]")
		checkBooks(t, h)
	})
}

// TestKeeperFails: outcomes that cannot be written are written later, and nothing
// is sent twice meanwhile.
func TestKeeperFails(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		h.sendNow(me, you, "1")
		h.sendNow(me, you, "2")
		h.keeper.fail("*", true)
		want(t, "answer", h.sendNow(me, you, "3"), "unavailable")
		h.stream.connect()
		synctest.Wait()
		h.stream.deliver()
		after(time.Minute)
		want(t, "received", h.stream.receivedIDs(), "[1 2]")
		p := h.sendNow(me, "other@example.com", "4")
		h.stream.deliver()
		synctest.Wait()
		want(t, "answer to another", p, "delivered")
		for range 100 { // the same outcomes again and again take no more memory
			h.stream.cut(true)
			h.stream.connect()
			after(time.Second)
		}
		h.keeper.fail("*", false)
		after(3 * time.Second)
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "delivered", "2": "delivered"})
		want(t, "received", h.stream.receivedIDs(), "[1 2 4]")
		checkBooks(t, h)
	})
}

// TestKeeperFailsThroughCuts: the outcomes that wait for the store have a bound.
func TestKeeperFailsThroughCuts(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		for i := range 100 {
			h.sendNow(me, you, fmt.Sprint(i))
		}
		h.keeper.fail("Settle", true)
		for range 50 {
			h.stream.connect()
			after(time.Second)
			h.stream.cut(true)
		}
		h.mu.Lock()
		if n := len(h.settled); n > window {
			t.Errorf("%d outcomes wait", n)
		}
		h.mu.Unlock()
		h.keeper.fail("Settle", false)
		h.stream.connect()
		after(3 * time.Second)
		want(t, "on the stream", len(h.stream.onStream()), 100)
		h.stream.deliver()
		synctest.Wait()
		checkBooks(t, h)
	})
}

// TestBeside: what an administrator drops or retries beside is seen, and the lines
// are counted right, also where that could not be read at once.
func TestBeside(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		h.sendNow(me, you, "1")
		h.sendNow(me, you, "2")
		dropped := message.Change{Record: h.keeper.all()[0], Before: message.Queued}
		dropped.State, dropped.Wake = message.Expired, time.Now().Add(time.Hour)
		h.keeper.beside(dropped)
		h.keeper.fail("Tally", true)
		after(3 * time.Second)
		h.keeper.fail("Tally", false)
		after(3 * time.Second)
		checkBooks(t, h)
		h.stream.connect()
		synctest.Wait()
		want(t, "on the stream", h.stream.onStream(), "[2]")
		h.stream.tell("2", "", passing(fault.RemoteFailed).Err)
		synctest.Wait()
		retried := message.Change{Record: h.keeper.all()[1], Before: message.Waiting}
		retried.State, retried.Wake = message.Queued, retried.Expires
		h.keeper.beside(retried)
		after(time.Second)
		want(t, "on the stream", h.stream.onStream(), "[2]")
		checkBooks(t, h)
		h.stream.deliver()
	})
}

// TestBesideRetry: one that an administrator retries in the moment in which its
// time has come is in line, and not between the two.
func TestBesideRetry(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.sendNow(me, you, "1")
		h.stream.tell("1", "", passing(fault.RemoteFailed).Err)
		synctest.Wait()
		h.keeper.set(func(k *table) {
			k.selected = func(found []message.Record) {
				if len(found) != 1 || found[0].State != message.Waiting {
					return
				}
				h.keeper.set(func(k *table) { k.selected = nil })
				c := message.Change{Record: found[0], Before: message.Waiting}
				c.State = message.Queued
				h.keeper.beside(c)
				_ = h.reload(t.Context())
				h.keeper.set(func(k *table) { k.changed = false })
				h.keeper.fail("Settle", true)
				time.AfterFunc(2500*time.Millisecond, func() { h.keeper.fail("Settle", false) })
			}
		})
		after(firstRetry + 5*time.Second)
		want(t, "on the stream", h.stream.onStream(), "[1]")
		h.stream.deliver()
	})
}

// TestPageInHand: a page that the outbox has read is not the line once that has
// changed: what was settled meanwhile does not go again, and what came into line
// meanwhile is not passed.
func TestPageInHand(t *testing.T) {
	t.Run("settled", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			h.stream.cut(false)
			h.sendNow(me, "first@example.com", "1")
			h.sendNow(me, you, "2")
			h.stream.connect()
			synctest.Wait()
			h.stream.tell("1", "", passing(fault.RemoteFailed).Err) // its next try makes the outbox begin before 2
			after(0)
			h.keeper.set(func(k *table) {
				k.selected = func(found []message.Record) {
					if len(found) == 2 && found[0].State == message.Queued {
						h.keeper.set(func(k *table) { k.selected = nil })
						h.stream.tell("2", message.Delivered, nil)
						time.Sleep(time.Second)
					}
				}
			})
			after(firstRetry + 2*time.Second)
			want(t, "received", h.stream.receivedIDs(), "[2]")
			want(t, "on the stream", h.stream.onStream(), "[1]")
			h.stream.deliver()
		})
	})
	t.Run("came", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			h.stream.cut(false)
			slow := make(chan struct{})
			h.keeper.set(func(k *table) {
				k.putting = func(records []message.Record) {
					if records[0].ID == "1" {
						<-slow
					}
				}
			})
			h.sendNow(me, "first@example.com", "1")
			h.sendNow(me, you, "2")
			h.keeper.set(func(k *table) {
				k.selected = func(found []message.Record) {
					if len(found) == 1 && found[0].ID == "2" {
						h.keeper.set(func(k *table) { k.selected = nil })
						close(slow)
						time.Sleep(time.Millisecond)
					}
				}
			})
			h.stream.connect()
			after(time.Second)
			ids := h.stream.onStream()
			slices.Sort(ids)
			want(t, "on the stream", ids, "[1 2]")
			h.stream.deliver()
		})
	})
}

// TestWindow: the outbox has a window on the stream, and each sender a part of it.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, newMemory(), func(o *Options, _ *stream) { o.MaxKept = 100 << 20 })
		defer h.stop()
		synctest.Wait()
		h.stream.cut(false)
		for i := range 2 * window {
			h.sendNow(me, you, fmt.Sprint("many ", i))
		}
		h.sendNow("other@example.com", you, "few")
		h.stream.connect()
		synctest.Wait()
		ids := h.stream.onStream()
		want(t, "on the stream", len(ids), window)
		if at := slices.Index(ids, "few"); at < 0 || at > pageLength {
			t.Errorf("another sender's turn comes after %d", at)
		}
		for range 10 {
			h.stream.deliver()
			synctest.Wait()
		}
		want(t, "received", len(h.stream.receivedIDs()), 2*window+1)
		checkBooks(t, h)
	})
}

// TestStopInTheMiddle: what is in line when it stops stays there.
func TestStopInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, newMemory(), func(o *Options, _ *stream) { o.MaxKept = 100 << 20 })
		synctest.Wait()
		h.stream.cut(false)
		for i := range 2 * window {
			h.sendNow(me, you, fmt.Sprint(i))
		}
		h.stream.connect()
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { defer close(stopped); h.stop() }()
		synctest.Wait()
		h.stream.deliver()
		<-stopped
		want(t, "received", len(h.stream.receivedIDs()), window)
		want(t, "on the stream", h.stream.onStream(), "[]")
	})
}

// TestStop: when it stops, nothing more is handed over, what is on the stream is
// waited for and written, and what comes later harms nobody.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, newMemory(), nil)
		synctest.Wait()
		late := h.sendNow(me, "slow@example.com", "overdue")
		h.stream.write(1)
		after(6 * time.Second)
		want(t, "answer", late, "queued")
		stopped := make(chan struct{})
		go func() { defer close(stopped); h.stop() }()
		after(time.Second)
		h.sendNow(me, "slow@example.com", "after it")
		want(t, "on the stream", h.stream.onStream(), "[overdue]")
		h.stream.tell("overdue", message.Delivered, nil)
		synctest.Wait()
		select {
		case <-stopped:
		default:
			t.Error("it waits although nothing is on the stream")
		}
		want(t, "states", h.keeper.states(), map[string]message.State{"overdue": "delivered", "after it": "queued"})
		after(5 * time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		h := build(t, newMemory(), nil)
		synctest.Wait()
		h.stream.cut(false)
		h.sendNow(me, you, "1")
		h.stream.connect()
		synctest.Wait()
		began := time.Now()
		h.stop()
		want(t, "waited", time.Since(began), 5*time.Second)
		h.stream.tell("1", message.Delivered, nil)
		h.stream.cut(true)
		h.stream.connect()
		want(t, "states", h.keeper.states(), map[string]message.State{"1": "queued"})
	})
}

func TestFind(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		for range 2 {
			h.sendNow(me, you, "1")
		}
		h.sendNow("other@example.com", you, "1")
		h.sendNow(me, "third@example.com", "1")
		found, err := h.Find(t.Context(), me, "1")
		if err != nil || len(found) != 2 || found[0].To != "third@example.com" || found[1].Seq <= h.keeper.all()[0].Seq {
			t.Errorf("%v, %v", found, err)
		}
	})
}

// TestOverview: numbers of everybody's, records of one's own, and less while the keeper
// fails.
func TestOverview(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		for _, id := range []string{"1", "2", "3"} {
			h.sendNow(me, you, id)
		}
		h.sendNow(you, me, "4")
		o := h.Overview(t.Context(), me, 2)
		want(t, "counts", [2]int{o.Kept, o.Own}, [2]int{4, 3})
		if len(o.Newest) != 2 || o.Newest[0].ID != "3" || o.Newest[1].ID != "2" {
			t.Errorf("the newest are %v", o.Newest)
		}
		want(t, "a stranger's", h.Overview(t.Context(), "other@example.com", 2).Own, 0)
		h.keeper.fail("Select", true)
		o = h.Overview(t.Context(), me, 2)
		want(t, "counts", [2]int{o.Kept, o.Own}, [2]int{4, 3})
		want(t, "records", len(o.Newest), 0)
		h.keeper.fail("Select", false)
	})
	synctest.Test(t, func(t *testing.T) {
		h := build(t, nil, nil)
		defer h.stop()
		want(t, "without a keeper", h.Overview(t.Context(), me, 2).Kept, 0)
	})
}
