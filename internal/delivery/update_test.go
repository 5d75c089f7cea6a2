package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// about is a request for one message about key.
func about(key string, m *message.Message) message.Request {
	r := one(m)
	r.Update = key
	return r
}

// on sends a request, and gives what its one message corrects, as the stream has it.
func (h *house) on(r message.Request) (p *reply, replaces string) {
	h.t.Helper()
	p = h.send(context.Background(), r)
	synctest.Wait()
	return p, h.replaces(r.Messages[0].ID)
}

// replaces is what a message on the stream corrects; "?": it is not there.
func (h *house) replaces(id string) string {
	h.stream.mu.Lock()
	defer h.stream.mu.Unlock()
	for _, i := range h.stream.queue {
		if i.m.ID == id {
			return i.m.Replace
		}
	}
	return "?"
}

// say sends a request that is delivered, and compares what it corrects.
func (h *house) say(r message.Request, wanted string) {
	h.t.Helper()
	p, replaces := h.on(r)
	if replaces != wanted {
		h.t.Errorf("%s corrects %q, want %q", r.Messages[0].ID, replaces, wanted)
	}
	h.stream.deliver()
	synctest.Wait()
	if p.String() != "delivered" {
		h.t.Errorf("%s: %s", r.Messages[0].ID, p)
	}
}

// TestUpdates: a message corrects the original of the same sender, recipient and key,
// for a week.
func TestUpdates(t *testing.T) {
	fresh := func(r message.Request) message.Request { r.Fresh = true; return r }
	naming := func(id string, r message.Request) message.Request { r.Messages[0].Replace = id; return r }
	const other = message.JID("other@example.com")
	bubble(t, func(t *testing.T, h *house) {
		h.say(about("disk", letter(me, you, "1")), "")
		h.say(about("disk", letter(me, you, "2")), "1")
		h.say(about("disk", letter(me, you, "3")), "1")
		h.say(one(letter(me, you, "4")), "")
		h.say(about("load", letter(me, you, "5")), "")
		h.say(about("disk", letter(me, other, "6")), "")
		h.say(about("disk", letter(other, you, "7")), "")
		h.say(about("disk", letter(me, you, "8")), "1")

		h.say(naming("4", about("disk", letter(me, you, "9"))), "4")
		h.say(about("disk", letter(me, you, "10")), "1")
		h.say(about("disk", letter(me, you, "1")), "")

		h.say(fresh(about("disk", letter(me, you, "11"))), "")
		h.say(about("disk", letter(me, you, "12")), "11")
		h.say(fresh(one(letter(me, you, "13"))), "")
		h.restart()
		h.say(about("disk", letter(me, you, "14")), "11")
		h.say(about("load", letter(me, you, "15")), "5")
		h.say(about("disk", letter(other, you, "16")), "7")
	})
	bubble(t, func(t *testing.T, h *house) {
		h.say(about("disk", letter(me, you, "1")), "")
		after(7*24*time.Hour - time.Second)
		h.say(about("disk", letter(me, you, "2")), "1")
		after(time.Second)
		h.say(about("disk", letter(me, you, "3")), "")
		h.say(about("disk", letter(me, you, "4")), "3")
		want(t, "corrections", testutil.ToFloat64(h.metrics.corrected), 2)
	})
	synctest.Test(t, func(t *testing.T) {
		h := build(t, nil, nil)
		defer h.stop()
		h.say(about("disk", letter(me, you, "1")), "")
		h.say(about("disk", letter(me, you, "2")), "")
	})
}

// TestUpdatesByOutcome: what was sent or kept is corrected later, and what was
// refused or has failed is not.
func TestUpdatesByOutcome(t *testing.T) {
	for _, test := range []struct {
		told    message.Outcome
		answer  string
		correct bool
	}{
		{message.Outcome{Status: message.Delivered}, "delivered", true},
		{message.Outcome{Status: message.Routed}, "routed", true},
		{failed(fault.Unconfirmed), "queued", true},
		{passing(fault.RemoteFailed), "queued", true},
		{failed(fault.Undeliverable), "undeliverable", false},
		{failed(fault.RemoteFailed), "remote-failed", false},
		{failed(fault.Rejected), "rejected", false},
		{failed(fault.Unavailable), "unavailable", false},
	} {
		for name, key := range map[string]string{"": "", ", with a key": "key"} {
			t.Run(test.answer+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *house) {
					first := about("disk", letter(me, you, "1"))
					first.Scope = key
					p, _ := h.on(first)
					h.stream.tell("1", test.told.Status, test.told.Err)
					synctest.Wait()
					want(t, "answer", p, test.answer)
					second := ""
					if test.correct {
						second = "1"
					}
					h.say(about("disk", letter(me, you, "2")), second)
				})
			})
		}
	}
}

// TestUpdatesKept: what a message corrects is decided when it is accepted, and it
// goes behind that.
func TestUpdatesKept(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.stream.cut(false)
		for _, r := range []message.Request{
			about("disk", letter(me, you, "1")), about("disk", letter(me, you, "2")), keyed("key", "of it", letter(me, you, "3")), about("disk", letter(me, you, "4")),
		} {
			r.Update = "disk"
			r.Fresh = r.Messages[0].ID == "4"
			p, _ := h.on(r)
			want(t, "answer", p, "queued")
		}
		h.restart()
		synctest.Wait()
		want(t, "on the stream", h.stream.onStream(), "[1 2 3 4]")
		want(t, "what they correct", []string{h.replaces("1"), h.replaces("2"), h.replaces("3"), h.replaces("4")}, "[ 1 1 ]")
		h.stream.deliver()
		synctest.Wait()
		h.say(about("disk", letter(me, you, "5")), "4")
	})
}

// TestUpdatesWithoutStore: where the store cannot tell or remember, messages are new
// ones, and sent. So is one that would be too large as a correction.
func TestUpdatesWithoutStore(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.keeper.fail("KeepOriginals", true)
		h.say(about("disk", letter(me, you, "1")), "")
		h.keeper.fail("KeepOriginals", false)
		h.say(about("disk", letter(me, you, "2")), "")
		h.keeper.fail("Originals", true)
		h.say(about("disk", letter(me, you, "3")), "")
		h.keeper.fail("Originals", false)
		h.say(about("disk", letter(me, you, "4")), "3")
		h.stream.set(func(s *stream) { s.tooLarge["3"] = true })
		h.say(about("disk", letter(me, you, "5")), "")
		h.say(about("disk", letter(me, you, "6")), "5")
	})
}

// TestUpdatesAtOnce: of two that are under way at once neither waits for the other,
// and the one that was answered last is corrected later.
func TestUpdatesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		first, replaces := h.on(about("disk", letter(me, you, "1")))
		want(t, "the first corrects", replaces, "")
		second, replaces := h.on(about("disk", letter(me, you, "2")))
		want(t, "the second corrects", replaces, "")
		h.stream.tell("2", message.Delivered, nil)
		synctest.Wait()
		h.stream.tell("1", message.Delivered, nil)
		synctest.Wait()
		want(t, "answers", []*reply{first, second}, "[delivered delivered]")
		h.say(about("disk", letter(me, you, "3")), "1")
	})
}

// TestUpdatesSeveral: each recipient's message corrects what that one was sent.
func TestUpdatesSeveral(t *testing.T) {
	const other = message.JID("other@example.com")
	several := func(id string) message.Request {
		return message.Request{Messages: []*message.Message{letter(me, you, id+"you"), letter(me, other, id+"other")}, Update: "disk"}
	}
	for name, key := range map[string]string{"without a key": "", "with a key": "key"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				h.say(about("disk", letter(me, you, "0")), "")
				first := several("1")
				first.Scope = key
				p, _ := h.on(first)
				want(t, "they correct", []string{h.replaces("1you"), h.replaces("1other")}, "[0 ]")
				want(t, "what was asked for", first.Messages[0].Replace, "")
				h.stream.deliver()
				synctest.Wait()
				want(t, "answer", p, "delivered delivered")
				h.on(several("2"))
				want(t, "they correct", []string{h.replaces("2you"), h.replaces("2other")}, "[0 1other]")
				h.stream.deliver()
			})
		})
	}
}

// TestUpdatesOnce: a request that comes again corrects what it did at first, and
// neither itself nor what came later, unless it is sent later too.
func TestUpdatesOnce(t *testing.T) {
	request := func(id string, fresh bool) message.Request {
		r := about("disk", letter(me, you, id))
		r.Scope, r.Digest, r.Fresh = "key of "+id, "of it", fresh
		return r
	}
	again := func(t *testing.T, h *house, r message.Request) {
		t.Helper()
		p, replaces := h.on(r)
		want(t, "again", []string{p.String(), replaces}, "[delivered ?]")
	}
	bubble(t, func(t *testing.T, h *house) {
		h.say(request("1", false), "")
		again(t, h, request("1", false))
		h.say(request("2", false), "1")
		again(t, h, request("2", false))
		again(t, h, request("1", false))
		h.say(request("3", true), "")
		again(t, h, request("1", false))
		h.say(request("4", true), "")
		again(t, h, request("3", true))
		h.say(request("5", false), "4")
	})
	t.Run("failed", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			h.say(request("1", false), "")
			p, _ := h.on(request("2", true))
			h.stream.tell("2", "", failed(fault.RemoteFailed).Err)
			synctest.Wait()
			want(t, "answer", p, "remote-failed")
			h.say(request("2", true), "")
			h.say(request("3", false), "2")
		})
	})
	t.Run("expired", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *house) {
			h.stream.cut(false)
			r := request("1", false)
			r.Messages[0].TTL = time.Second
			p, _ := h.on(r)
			want(t, "answer", p, "queued")
			after(time.Minute)
			h.stream.connect()
			h.say(request("1", false), "")
			h.say(request("2", false), "1")
		})
	})
}
