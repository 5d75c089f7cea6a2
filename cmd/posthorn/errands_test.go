package main

import (
	"context"
	"errors"
	"strings"
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
		all[i] = newErrands(h, func() bool { return i == 1 }, tell)
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
		{"slow", host{slot: slot, wait: errandWait - time.Second}, ""},
		{"too slow", host{slot: slot, wait: errandWait + time.Second}, "no posthorn that is connected"},
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

// TestErrandsOfStrangers: what does not parse, or nobody has asked for, does nothing.
func TestErrandsOfStrangers(t *testing.T) {
	e, stop := two(&host{}, 4000)
	defer stop()
	for _, text := range []string{"", "{", `{"id":"x"}`, "null", `[]`} {
		e.asked(text)
		e.answered(text)
	}
}
