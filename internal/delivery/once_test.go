package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// ask sends a keyed request for one message and lets everything happen.
func (h *house) ask(to ...message.JID) *reply {
	var messages []*message.Message
	for _, to := range to {
		messages = append(messages, letter(me, to, "to "+to.Local()))
	}
	p := h.send(context.Background(), keyed("key", "of it", messages...))
	synctest.Wait()
	return p
}

// TestOnce: a request that comes again is answered as before, and nothing is sent
// again, also by another process; but what was neither sent nor kept.
func TestOnce(t *testing.T) {
	tests := []struct {
		name          string
		told          message.Outcome
		answer, again string // …: it is on the stream again
	}{
		{"delivered", message.Outcome{Status: message.Delivered}, "delivered", "delivered"},
		{"routed", message.Outcome{Status: message.Routed}, "routed", "routed"},
		{"refused", failed(fault.Forbidden), "forbidden", "forbidden"},
		{"refused, conflict", failed(fault.Conflict), "conflict", "conflict"},
		{"poisoned", failed(fault.Rejected), "rejected", "rejected"},
		{"remote failed", failed(fault.RemoteFailed), "remote-failed", "…"},
		{"mute", failed(fault.Unavailable), "unavailable", "…"},
		{"may pass", passing(fault.RemoteFailed), "queued", "queued"},
		{"a silent room", failed(fault.Unconfirmed), "queued", "queued"},
	}
	for _, test := range tests {
		for name, meanwhile := range map[string]func(*house){
			"": func(*house) {}, " and a restart": (*house).restart,
		} {
			t.Run(test.name+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *house) {
					p := h.ask(you)
					want(t, "on disk before it is sent", h.keeper.states(), map[string]message.State{"to you": "queued"})
					h.stream.tell("to you", test.told.Status, test.told.Err)
					synctest.Wait()
					want(t, "answer", p, test.answer)
					checkBooks(t, h)
					if test.told.Err != nil && fault.Of(test.told.Err).Kind == fault.Unconfirmed && name != "" {
						return // there is a new stream
					}
					meanwhile(h)
					p = h.ask(you)
					want(t, "answer again", p, test.again)
					if test.again == "…" {
						want(t, "on the stream", h.stream.onStream(), "[to you]")
						h.stream.deliver()
						synctest.Wait()
						want(t, "answer at last", p, "delivered")
						want(t, "answer after that", h.ask(you), "delivered")
					}
					want(t, "on the stream", h.stream.onStream(), "[]")
					checkBooks(t, h)
				})
			})
		}
	}
}

// TestOnceUnderWay: a repetition waits for the first, and another request with the
// same key does not.
func TestOnceUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		first, second := h.ask(you), h.ask(you)
		other := h.send(t.Context(), keyed("key", "of another", letter(me, you, "other")))
		synctest.Wait()
		want(t, "answers", []*reply{first, second, other}, "[… … all unsendable]")
		h.stream.deliver()
		synctest.Wait()
		want(t, "answers", []*reply{first, second}, "[delivered delivered]")
		other = h.send(t.Context(), keyed("key", "of another", letter(me, you, "other")))
		synctest.Wait()
		want(t, "answer", other, "all unsendable")
		want(t, "received", h.stream.receivedIDs(), "[to you]")
	})
}

// TestOnceGone: a client that goes does not undo it, and finds the outcome later.
func TestOnceGone(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		ctx, cancel := context.WithCancel(t.Context())
		h.send(ctx, keyed("key", "of it", letter(me, you, "to you")))
		synctest.Wait()
		cancel()
		after(time.Second)
		h.stream.deliver()
		synctest.Wait()
		want(t, "answer", h.ask(you), "delivered")
		want(t, "received", h.stream.receivedIDs(), "[to you]")
	})
}

// TestOnceSeveral: of several recipients only those are tried again for whom
// nothing was done.
func TestOnceSeveral(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		all := []message.JID{"a@example.com", "b@example.com", "c@example.com"}
		p := h.ask(all...)
		h.stream.tell("to a", "", failed(fault.Undeliverable).Err)
		h.stream.tell("to b", "", failed(fault.RemoteFailed).Err)
		h.stream.tell("to c", message.Delivered, nil)
		synctest.Wait()
		want(t, "answer", p, "undeliverable remote-failed delivered")
		p = h.ask(all...)
		want(t, "on the stream", h.stream.onStream(), "[to b]")
		h.stream.deliver()
		synctest.Wait()
		want(t, "answer again", p, "undeliverable delivered delivered")
		checkBooks(t, h)
	})
}

// TestOnceExpired: what expired may be tried again, for as long as at first.
func TestOnceExpired(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		ask := func() *reply {
			m := letter(me, you, "1")
			m.TTL = time.Minute
			p := h.send(t.Context(), keyed("key", "of it", m))
			synctest.Wait()
			return p
		}
		for range 3 {
			want(t, "answer", ask(), "queued")
			after(59 * time.Second)
			want(t, "states", h.keeper.states(), map[string]message.State{"1": "queued"})
			after(time.Hour)
			want(t, "states", h.keeper.states(), map[string]message.State{"1": "expired"})
		}
		checkBooks(t, h)
	})
}

// TestOnceKeeperFails: without a store nothing with a key is sent, and a repetition
// is kept before that is said.
func TestOnceKeeperFails(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.keeper.fail("*", true)
		want(t, "answer", h.ask(you), "all unavailable")
		h.keeper.fail("*", false)
		p := h.ask(you)
		h.stream.tell("to you", "", failed(fault.RemoteFailed).Err)
		synctest.Wait()
		want(t, "answer", p, "remote-failed")
		h.stream.cut(false)
		h.keeper.fail("*", true)
		want(t, "answer while it cannot be written", h.ask(you), "unavailable")
		h.keeper.fail("*", false)
		want(t, "answer", h.ask(you), "queued")
		h.keeper.fail("*", true)
		want(t, "answer to what is known", h.ask(you), "queued")
		want(t, "states", h.keeper.states(), map[string]message.State{"to you": "queued"})
		checkBooks(t, h)
	})
}

// TestOnceUnwritten: an outcome that cannot be written is the answer all the same,
// to the first and to a repetition, and nothing is said to be kept that is not.
func TestOnceUnwritten(t *testing.T) {
	for _, o := range []message.Outcome{{Status: message.Delivered}, failed(fault.RemoteFailed), failed(fault.Forbidden)} {
		t.Run(describe(o), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				first := h.ask(you)
				h.keeper.fail("Settle", true)
				h.stream.tell("to you", o.Status, o.Err)
				after(5 * time.Second)
				want(t, "answers", []*reply{first, h.ask(you)}, "["+describe(o)+" "+describe(o)+"]")
				h.keeper.fail("Settle", false)
				after(3 * time.Second)
				checkBooks(t, h)
				want(t, "on the stream", h.stream.onStream(), "[]")
			})
		})
	}
}

// TestOnceUnwrittenTwice: who was on a stream that ended is told that their message
// is kept only while it is: not when it has failed since, and neither is written.
func TestOnceUnwrittenTwice(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		p := h.ask(you)
		h.keeper.fail("Settle", true)
		h.stream.write(1)
		h.stream.cut(true)
		h.stream.connect()
		after(300 * time.Millisecond)
		h.stream.tell("to you", "", failed(fault.RemoteFailed).Err)
		after(time.Millisecond)
		h.keeper.fail("Settle", false)
		after(2 * time.Second)
		want(t, "answer", p, "remote-failed")
		want(t, "states", h.keeper.states(), map[string]message.State{"to you": "failed"})
		checkBooks(t, h)
	})
}

// TestOnceForgotten: where some of a request's outcomes are forgotten and others
// not, nothing is made up.
func TestOnceForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		both := []message.JID{"a@example.com", "b@example.com"}
		h.ask(both...)
		h.stream.tell("to a", message.Delivered, nil)
		h.stream.tell("to b", "", failed(fault.Unconfirmed).Err)
		after(25 * time.Hour)
		want(t, "states", h.keeper.states(), map[string]message.State{"to b": "unconfirmed"})
		want(t, "answer", h.ask(both...), "unsendable queued")
	})
}
