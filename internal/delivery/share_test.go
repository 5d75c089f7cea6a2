package delivery

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A pair are two posthorns that share what is kept, of which the first leads. What they
// write they tell each other, unless deaf.
type pair struct {
	leader, standby *house
	term            atomic.Int64 // of the leader
	flows           atomic.Bool
	deaf            atomic.Bool
}

func newPair(t *testing.T) *pair {
	p := &pair{}
	p.term.Store(1)
	p.flows.Store(true)
	k := newMemory()
	k.shared, k.term = true, 1
	k.spread = func(from *memory, _ bool, changed []message.Record) {
		for _, h := range []*house{p.leader, p.standby} {
			if h.keeper != from && !p.deaf.Load() {
				hear(&life{house: h}, changed)
			}
		}
	}
	p.leader = build(t, k, func(o *Options, _ *stream) { o.Term, o.Flows = p.term.Load, p.flows.Load })
	p.standby = build(t, k.another(), func(o *Options, s *stream) {
		s.up = false
		o.Term, o.Flows = func() int64 { return 0 }, p.flows.Load
	})
	synctest.Wait()
	return p
}

func (p *pair) stop() {
	p.leader.stop()
	p.standby.stop()
}

// TestShared: a message that one posthorn accepts is sent by the one that leads, and what
// came of it is its answer.
func TestShared(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
		then message.State
	}{
		{"delivered", nil, "delivered", message.State(message.Delivered)},
		{"bounced", fault.New(fault.Undeliverable, "nobody"), "undeliverable", message.Bounced},
		{"the recipient's server fails", fault.New(fault.RemoteFailed, "not there"), "remote-failed", message.Failed},
		{"may pass", fault.New(fault.RemoteFailed, "not now").MayPass(), "queued", message.Waiting},
		{"the stream blames it twice", fault.New(fault.Rejected, "poison"), "rejected", message.Rejected},
		{"a silent room", fault.New(fault.Unconfirmed, "silence"), "queued", message.Unconfirmed},
	} {
		for _, deaf := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPair(t)
					defer p.stop()
					own := p.leader.send(t.Context(), one(letter(me, you, "own")))
					reply := p.standby.send(t.Context(), one(letter(me, you, "x")))
					synctest.Wait()
					p.leader.stream.tell("own", message.Delivered, nil)
					p.leader.stream.tell("x", message.Delivered, c.err)
					p.deaf.Store(deaf) // it asks by itself
					<-reply.done
					synctest.Wait()
					again := c.then == message.Waiting && p.leader.stream.submits == 3 // its next try may be a moment later
					if got := p.leader.keeper.states()["x"]; reply.String() != c.want || got != c.then && !again || own.String() != "delivered" {
						t.Errorf("answered %s, and the other %s; it is %s", reply, own, got)
					}
					if got := p.leader.stream.submits; got != 2 && !again {
						t.Errorf("submitted %d times", got)
					}
				})
			})
		}
	}
}

// TestSharedMute: a message of a host that may not be spoken for fails while its sender
// waits, and stays in line once they have been told that it is kept.
func TestSharedMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		p.leader.stream.set(func(s *stream) { s.mute[me] = true })
		reply := p.standby.send(t.Context(), one(letter(me, you, "1")))
		synctest.Wait()
		if got := p.leader.keeper.states()["1"]; reply.String() != "unavailable" || got != message.Failed {
			t.Errorf("answered %s, it is %s", reply, got)
		}
		p.flows.Store(false)
		reply = p.standby.send(t.Context(), one(letter(me, you, "2")))
		time.Sleep(time.Minute)
		if got := p.leader.keeper.states()["2"]; reply.String() != "queued" || got != message.Queued {
			t.Errorf("answered %s, it is %s", reply, got)
		}
	})
}

// TestSharedRefused: that a message was refused is a line in the log where its sender has been
// told that it is kept, and not where that is their answer.
func TestSharedRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		var log strings.Builder
		p.leader.opts.Log = logTo(&log)
		for _, waits := range []bool{true, false} {
			reply := p.standby.send(t.Context(), one(letter(me, you, fmt.Sprint(waits))))
			synctest.Wait()
			if !waits {
				time.Sleep(6 * time.Second)
			}
			p.leader.stream.tell(fmt.Sprint(waits), message.Delivered, fault.New(fault.Undeliverable, "nobody"))
			time.Sleep(time.Second)
			synctest.Wait()
			if told := strings.Contains(log.String(), "a kept message was refused"); told == waits || waits != (reply.String() == "undeliverable") {
				t.Errorf("answered %s, the log is %q", reply, log.String())
			}
		}
	})
}

// TestSharedTimeout: whoever gives up waiting is told what the store says then; where it
// says nothing, that nothing is known.
func TestSharedTimeout(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails string
		want  string
	}{
		{"kept", "", "queued"},
		{"the store does not answer", "StopWaiting", "unconfirmed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				defer p.stop()
				reply := p.standby.send(t.Context(), one(letter(me, you, "x")))
				synctest.Wait()
				p.leader.keeper.fail(c.fails, true)
				time.Sleep(6 * time.Second)
				synctest.Wait()
				if got := p.leader.keeper.all()[0]; reply.String() != c.want || got.Waits != (c.fails != "") {
					t.Errorf("answered %s: %+v", reply, got)
				}
				if c.fails != "" {
					return
				}
				for range 2 { // the first time the leader did not know that nobody waits
					p.leader.stream.tell("x", message.Delivered, fault.New(fault.RemoteFailed, "too late to be told"))
					time.Sleep(2 * time.Second)
				}
				if got := p.leader.keeper.states()["x"]; got != message.Bounced {
					t.Errorf("it is %s, though its sender was told that it is kept", got)
				}
			})
		})
	}
}

// TestSharedKey: a repetition at another posthorn sends nothing, and gets the same answer,
// for which it waits while that is not known.
func TestSharedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		r := keyed("key", "digest", letter(me, you, "x"))
		first, again := p.standby.send(t.Context(), r), p.leader.send(t.Context(), copied(r))
		synctest.Wait()
		if first.String()+again.String() != "……" {
			t.Errorf("answered %s and %s before anything was known", first, again)
		}
		p.leader.stream.deliver()
		time.Sleep(time.Second)
		later := p.leader.send(t.Context(), copied(r))
		synctest.Wait()
		other := p.leader.send(t.Context(), keyed("key", "of another", letter(me, you, "y")))
		synctest.Wait()
		if got := strings.Join([]string{first.String(), again.String(), later.String(), other.String()}, " "); got != "delivered delivered delivered all unsendable" {
			t.Errorf("answered %s", got)
		}
		if got := p.leader.stream.receivedIDs(); len(got) != 1 {
			t.Errorf("received %v", got)
		}
	})
}

// TestSharedAgain: a repetition of what had failed gets the answer of its own try, and not
// that of the first, which the store gives until it is in line again.
func TestSharedAgain(t *testing.T) {
	for _, reading := range []time.Duration{0, 3 * time.Second} {
		t.Run(reading.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				defer p.stop()
				k := p.leader.keeper
				r := keyed("key", "digest", letter(me, you, "x"))
				first := p.standby.send(t.Context(), r)
				synctest.Wait()
				p.leader.stream.tell("x", message.Delivered, fault.New(fault.RemoteFailed, "not there"))
				<-first.done
				k.set(func(k *table) { k.latency = func() time.Duration { return 2 * time.Second } })
				again := p.standby.send(t.Context(), copied(r))
				time.Sleep(4*time.Second + time.Millisecond) // it was found, and is about to be put back
				k.set(func(k *table) {
					k.latency = nil
					k.selected = func([]message.Record) { time.Sleep(reading) }
				})
				time.Sleep(4 * time.Second)
				synctest.Wait()
				if again.String() != "…" || k.states()["x"] != message.Queued {
					t.Fatalf("answered %s, and it is %s", again, k.states()["x"])
				}
				p.leader.stream.deliver()
				time.Sleep(4 * time.Second)
				if again.String() != "delivered" {
					t.Errorf("answered %s", again)
				}
			})
		})
	}
}

// TestSharedOrder: what got its number before others and was there after them is not passed
// by what was sent when it had been answered, even where nobody has told of it, and the
// stream takes nothing for a moment.
func TestSharedOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		p.deaf.Store(true)
		p.flows.Store(false)
		commit := make(chan struct{})
		p.leader.keeper.set(func(k *table) {
			k.putting = func(rs []message.Record) {
				if rs[0].ID == "1" {
					<-commit
				}
			}
		})
		first := p.standby.send(t.Context(), one(letter(me, you, "1")))
		synctest.Wait()
		p.leader.send(t.Context(), one(letter(me, you, "2")))
		synctest.Wait()
		close(commit)
		synctest.Wait()
		if first.String() != "queued" {
			t.Fatalf("answered %s", first)
		}
		full := func(is bool) { p.leader.stream.set(func(s *stream) { s.full = is }) }
		full(true)
		p.leader.send(t.Context(), one(letter(me, you, "3")))
		synctest.Wait()
		full(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := strings.Join(p.leader.stream.onStream(), ""); got != "213" {
			t.Errorf("on the stream are %s", got)
		}
	})
}

// TestTakeover: another that comes to lead sends what the first had on the stream, in
// order, and what the first learns then is void, whether or not that has been claimed from
// it by then.
func TestTakeover(t *testing.T) {
	for _, claimed := range []bool{false, true} {
		t.Run(fmt.Sprint(claimed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				defer p.stop()
				var replies []*reply
				for _, id := range []string{"1", "2", "3"} {
					replies = append(replies, p.standby.send(t.Context(), one(letter(me, you, id))))
					synctest.Wait()
				}
				p.leader.stream.write(2)
				next := build(t, p.leader.keeper.another(), func(o *Options, s *stream) {
					s.up = false
					o.Term, o.Flows = func() int64 { return 2 }, p.flows.Load
				})
				defer next.stop()
				p.leader.keeper.set(func(k *table) { k.term = 2 })
				if claimed {
					next.stream.connect()
					time.Sleep(time.Second)
				}
				p.leader.stream.tell("1", message.Delivered, fault.New(fault.Undeliverable, "as the first hears"))
				p.leader.stream.cut(false)
				synctest.Wait()
				if !claimed {
					next.stream.connect()
					time.Sleep(time.Second)
					synctest.Wait()
				}
				if got := strings.Join(next.stream.onStream(), ""); got != "123" {
					t.Errorf("on the stream of the second are %s", got)
				}
				next.stream.deliver()
				time.Sleep(time.Second)
				synctest.Wait()
				for _, r := range replies {
					if r.String() != "delivered" {
						t.Errorf("answered %s", r)
					}
				}
			})
		})
	}
}

// TestLedBefore: one that stood still while another came to lead, and does not know it yet,
// changes nothing of what that one has on its stream: neither is it over, nor sent again.
func TestLedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		p.leader.keeper.set(func(k *table) { k.term = 2 })
		next := build(t, p.leader.keeper.another(), func(o *Options, _ *stream) {
			o.Term, o.Flows = func() int64 { return 2 }, p.flows.Load
		})
		defer next.stop()
		brief := letter(me, you, "brief")
		brief.TTL = 3 * time.Second
		p.standby.send(t.Context(), one(brief))
		p.standby.send(t.Context(), one(letter(me, you, "silent")))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		next.stream.tell("silent", message.Delivered, fault.New(fault.Unconfirmed, "silence"))
		synctest.Wait()
		p.leader.stream.cut(false)
		p.leader.stream.connect()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := p.leader.keeper.states(); got["brief"] != message.Queued || got["silent"] != message.Unconfirmed {
			t.Errorf("they are %v", got)
		}
		if got := next.stream.onStream(); len(got) != 1 {
			t.Errorf("on the stream are %v", got)
		}
		next.stream.deliver()
		synctest.Wait()
		if got := p.leader.keeper.states()["brief"]; got != message.State(message.Delivered) {
			t.Errorf("it was delivered, and is %s", got)
		}
	})
}

// TestClaimedBefore: what was claimed in a term that has ended since is not sent: another
// may have led meanwhile. It is claimed anew.
func TestClaimedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		k := p.leader.keeper
		k.set(func(k *table) {
			k.latency = func() time.Duration {
				if records := k.all(); len(records) == 1 && records[0].Term == 1 {
					p.term.Store(3)
					k.set(func(k *table) { k.term = 3 })
				}
				return 0
			}
		})
		reply := p.standby.send(t.Context(), one(letter(me, you, "x")))
		time.Sleep(time.Second)
		synctest.Wait()
		p.leader.stream.deliver()
		synctest.Wait()
		if got := k.all()[0]; reply.String() != "delivered" || got.Term != 3 || p.leader.stream.submits != 1 {
			t.Errorf("answered %s, submitted %d times: %+v", reply, p.leader.stream.submits, got)
		}
	})
}

// TestSharedCount: what comes while it is counted what is kept is sent at once all the same.
func TestSharedCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		defer p.stop()
		p.leader.keeper.set(func(k *table) { k.latency = func() time.Duration { return 10 * time.Millisecond } })
		for after := range 12 {
			time.Sleep(time.Second)
			p.leader.Missed()
			time.Sleep(time.Duration(after) * 5 * time.Millisecond)
			sender := message.JID(fmt.Sprint(after, "@example.com"))
			p.standby.send(t.Context(), one(letter(sender, you, fmt.Sprint(after))))
			time.Sleep(100 * time.Millisecond)
			if got := len(p.leader.stream.onStream()); got != after+1 {
				t.Fatalf("one that came %d ms after the count began was not sent", 5*after)
			}
		}
		p.leader.stream.deliver()
		time.Sleep(time.Second)
	})
}
