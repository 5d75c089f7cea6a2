package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A preparation completes a message, once it is let to.
type preparation struct {
	times int
	leave chan error // nil: at once
}

func (p *preparation) of(r message.Request) message.Request {
	r.Prepare = func(ctx context.Context) error {
		p.times++
		if p.leave != nil {
			select {
			case err := <-p.leave:
				if err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for _, m := range r.Messages {
			m.Body += ", complete"
		}
		return nil
	}
	return r
}

// TestPrepare: what is sent and kept is complete.
func TestPrepare(t *testing.T) {
	for name, key := range map[string]string{"": "", " with a key": "key"} {
		t.Run("sent"+name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				p := &preparation{leave: make(chan error)}
				m := letter(me, you, "1")
				got := h.send(t.Context(), p.of(keyed(key, "of it", m)))
				synctest.Wait()
				want(t, "on the stream before", h.stream.onStream(), "[]")
				want(t, "states before", h.keeper.states(), map[string]message.State{})
				p.leave <- nil
				synctest.Wait()
				h.stream.deliver()
				synctest.Wait()
				want(t, "answer", got, "delivered")
				want(t, "the text", m.Body, "text of 1, complete")
				checkBooks(t, h)
			})
		})
		t.Run("fails"+name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				p := &preparation{leave: make(chan error, 1)}
				p.leave <- fault.New(fault.Forbidden, "no")
				got := h.send(t.Context(), p.of(keyed(key, "of it", letter(me, you, "1"))))
				synctest.Wait()
				want(t, "answer", got, "all forbidden")
				want(t, "states", h.keeper.states(), map[string]message.State{})
				p.leave <- nil
				got = h.send(t.Context(), p.of(keyed(key, "of it", letter(me, you, "1"))))
				synctest.Wait()
				h.stream.deliver()
				synctest.Wait()
				want(t, "answer again", got, "delivered")
				checkBooks(t, h)
			})
		})
		t.Run("too large"+name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				p := &preparation{}
				h.stream.set(func(s *stream) { s.tooLarge = map[string]bool{"text of 1": true} })
				got := h.send(t.Context(), p.of(keyed(key, "of it", letter(me, you, "1"))))
				synctest.Wait()
				want(t, "answer", got, "all too-large")
				want(t, "prepared", p.times, 0)
			})
		})
	}
}

// TestPrepareOnce: a repetition prepares nothing where nothing is sent by it.
func TestPrepareOnce(t *testing.T) {
	for _, test := range []struct {
		name  string
		told  message.Outcome
		again string
		times int
	}{
		{"delivered", message.Outcome{Status: message.Delivered}, "delivered", 1},
		{"refused", failed(fault.Forbidden), "forbidden", 1},
		{"queued", passing(fault.RemoteFailed), "queued", 1},
		{"failed", failed(fault.RemoteFailed), "…", 2},
	} {
		for name, meanwhile := range map[string]func(*house){"": func(*house) {}, " and a restart": (*house).restart} {
			t.Run(test.name+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *house) {
					p := &preparation{}
					ask := func(digest string) *reply {
						got := h.send(t.Context(), p.of(keyed("key", digest, letter(me, you, "to you"))))
						synctest.Wait()
						return got
					}
					ask("of it")
					h.stream.tell("to you", test.told.Status, test.told.Err)
					synctest.Wait()
					meanwhile(h)
					want(t, "answer to another", ask("of another"), "all unsendable")
					want(t, "answer again", ask("of it"), test.again)
					want(t, "prepared", p.times, test.times)
					if test.times == 2 {
						h.stream.deliver()
						synctest.Wait()
						want(t, "received", h.stream.receivedIDs(), "[to you]")
					}
					checkBooks(t, h)
				})
			})
		}
	}
}

// TestPrepareUnderWay: who asks for the same meanwhile waits, and prepares nothing; a
// client that goes does not undo it, with a key.
func TestPrepareUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		p := &preparation{leave: make(chan error)}
		ctx, cancel := context.WithCancel(t.Context())
		h.send(ctx, p.of(keyed("key", "of it", letter(me, you, "1"))))
		synctest.Wait()
		second := h.send(t.Context(), p.of(keyed("key", "of it", letter(me, you, "1"))))
		synctest.Wait()
		cancel()
		after(time.Second)
		want(t, "answer", second, "…")
		p.leave <- nil
		synctest.Wait()
		h.stream.deliver()
		synctest.Wait()
		want(t, "answer", second, "delivered")
		want(t, "prepared", p.times, 1)
	})
}

// TestPrepareStoreFails: while it is not known whether the request is a repetition,
// nothing is prepared.
func TestPrepareStoreFails(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		p := &preparation{}
		h.keeper.fail("Select", true)
		got := h.send(t.Context(), p.of(keyed("key", "of it", letter(me, you, "1"))))
		synctest.Wait()
		want(t, "answer", got, "all unavailable")
		want(t, "prepared", p.times, 0)
	})
}
