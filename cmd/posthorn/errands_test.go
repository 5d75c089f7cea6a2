package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/upload"
)

// A host gives what a test says.
type host struct {
	slot upload.Slot
	err  error
	wait time.Duration
}

func (h *host) UploadLimit(ctx context.Context, from message.JID) (int64, error) {
	time.Sleep(h.wait)
	return int64(len(from)), h.err
}

func (h *host) RequestSlot(ctx context.Context, from message.JID, f message.File) (upload.Slot, error) {
	time.Sleep(h.wait)
	s := h.slot
	s.Get += f.Name
	return s, h.err
}

// two gives the errands of a posthorn that has no stream, beside one that has and asks
// the host. What they tell each other has that length at most.
func two(h *host, longest int) (standby *errands, stop func()) {
	var all [2]*errands
	for i := range all {
		tell := func(topic, text string) error {
			other := all[1-i]
			switch {
			case len(text) > longest:
				return errors.New("too long")
			case topic == askTopic:
				go other.asked(text)
			default:
				go other.answered(text)
			}
			return nil
		}
		all[i] = newErrands(h, func() bool { return i == 1 }, func() bool { return true }, tell)
	}
	return all[0], all[1].close
}

// TestErrands: a posthorn without the stream gives what the one that has it would have
// given, errors too.
func TestErrands(t *testing.T) {
	refused := fault.New(fault.Forbidden, "no files of yours").MayPass().After(time.Minute)
	slot := upload.Slot{Service: "upload.example.com", Put: "https://a/put", Get: "https://a/get/", Header: map[string][]secret.Value{
		"Authorization": {secret.New("Basic x"), secret.New("Bearer y")}, "Cookie": {secret.New("z=\"1\"")}}}
	for _, c := range []struct {
		name string
		host host
		want string // of the error; "": none
	}{
		{"a place", host{slot: slot}, ""},
		{"refused", host{err: refused}, "no files of yours"},
		{"slow", host{slot: slot, wait: errandWait - errandAgain/2}, ""},
		{"too slow", host{slot: slot, wait: errandWait + errandAgain/2}, "no posthorn that is connected"},
		{"too long to be told", host{slot: upload.Slot{Put: strings.Repeat("x", 5000)}}, "too long to be told"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, stop := two(&c.host, 4000)
				defer stop()
				got, err := e.RequestSlot(t.Context(), "me@example.com", message.File{Name: "a.png", Size: 1})
				limit, limitErr := e.UploadLimit(t.Context(), "me@example.com")
				if c.want != "" {
					if f := fault.Of(err); !strings.Contains(f.Public, c.want) || c.host.err != nil && (f.Kind != refused.Kind || f.Wait != refused.Wait || !f.Passing || limitErr == nil) {
						t.Errorf("RequestSlot gave %+v, UploadLimit %v", f, limitErr)
					}
					return
				}
				if err != nil || limitErr != nil || limit != int64(len("me@example.com")) {
					t.Fatalf("%v, %v; the limit is %d", err, limitErr, limit)
				}
				want := slot
				want.Get += "a.png"
				reveal := cmp.Transformer("reveal", secret.Value.Reveal)
				if diff := cmp.Diff(want, got, reveal); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestErrandsWait: who has the stream dies before it answers, and this posthorn has it
// then; or nobody has.
func TestErrandsWait(t *testing.T) {
	for name, test := range map[string]struct {
		dies, taken time.Duration // until the other has it no more, and until this one has it
		want        time.Duration // until there is a place; negative: until there is none
	}{
		"here":                       {0, 0, 0},
		"taken over":                 {5*time.Second + 1, 7*time.Second + 1, 8 * time.Second},
		"connecting":                 {0, 1500 * time.Millisecond, 2 * time.Second},
		"nobody":                     {0, time.Hour, -maxStreamless * errandAgain},
		"the other hangs":            {time.Hour, time.Hour, -errandWait},
		"nobody after the other has": {5*time.Second + 1, time.Hour, -(6 + maxStreamless) * errandAgain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, asked := time.Now(), 0
				is := func(until time.Duration) bool { return time.Since(began) < until }
				e := newErrands(&host{}, func() bool { return !is(test.taken) }, func() bool { return is(test.dies) || !is(test.taken) },
					func(string, string) error { asked++; return nil })
				_, err := e.RequestSlot(t.Context(), "me@example.com", message.File{Name: "a.png", Size: 1})
				if took := time.Since(began); took != max(test.want, -test.want) || (err == nil) != (test.want >= 0) {
					t.Errorf("%v after %v, want %v", err, took, test.want)
				}
				if asked > int(errandWait/errandAgain)+1 {
					t.Errorf("the other was asked %d times", asked)
				}
			})
		})
	}
}

// TestErrandsOnce: who is asked several times does an errand once, and no more than so
// many at once.
func TestErrandsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers atomic.Int64
		h := &host{wait: time.Second}
		yes := func() bool { return true }
		e := newErrands(h, yes, yes, func(topic, text string) error { answers.Add(1); return nil })
		for n := range 2 * maxErrands {
			for range 3 {
				e.asked(fmt.Sprintf(`{"id":"%d","from":"me@example.com"}`, n))
			}
		}
		e.close()
		e.mu.Lock()
		defer e.mu.Unlock()
		if answers.Load() != maxErrands || len(e.busy) != 0 {
			t.Errorf("%d were done, and %d are not over", answers.Load(), len(e.busy))
		}
	})
}

// TestErrandsOfStrangers: what does not parse, or nobody has asked for, does nothing.
func TestErrandsOfStrangers(t *testing.T) {
	e, stop := two(&host{}, 4000)
	defer stop()
	for _, text := range []string{"", "{", `{"id":"x"}`, "null", `[]`} {
		e.asked(text)
		e.answered(text)
	}
}
