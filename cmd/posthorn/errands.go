package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/upload"
)

const (
	// errandWait is how long the one that has the stream may take to ask for a place for
	// a file: an upload service has ten seconds.
	errandWait = 12 * time.Second
	// errandAgain is how soon it is looked anew who has the stream.
	errandAgain = time.Second
	// maxStreamless is how often nobody has it then, before an errand is given up: another
	// posthorn takes the stream over within a second.
	maxStreamless = 3
	// maxErrands bounds those that are done for others at once.
	maxErrands = 64
)

// A landlord gives places for files. The package component documents both methods.
type landlord interface {
	UploadLimit(ctx context.Context, from message.JID) (int64, error)
	RequestSlot(ctx context.Context, from message.JID, f message.File) (upload.Slot, error)
}

// errands ask for a place for a file: here, where the stream is, or of the posthorn that
// has it.
type errands struct {
	here  landlord
	held  func() bool // the stream is this posthorn's
	flows func() bool // it is up, whoever has it
	tell  func(topic, text string) error
	done  sync.WaitGroup // for those that are done for others

	mu      sync.Mutex
	waiting map[string]chan place // by the errand's id; each of capacity 1; guarded by mu
	busy    map[string]struct{}   // the ids of those that are done for others; guarded by mu
}

func newErrands(here landlord, held, flows func() bool, tell func(topic, text string) error) *errands {
	return &errands{here: here, held: held, flows: flows, tell: tell, waiting: make(map[string]chan place), busy: make(map[string]struct{})}
}

// An errand is a question to the one that has the stream: for a place for a file, or
// how large one may be, where there is no file.
type errand struct {
	ID   string        `json:"id"`
	From message.JID   `json:"from"`
	File *message.File `json:"file,omitempty"`
}

// A place is what came of it, or why there is none.
type place struct {
	ID     string              `json:"id"`
	Limit  int64               `json:"limit,omitempty"`
	Slot   upload.Slot         `json:"slot"`
	Header map[string][]string `json:"header,omitempty"` // of the slot, in clear
	Fault  *failure            `json:"fault,omitempty"`
}

// A failure is a fault on its way to another posthorn.
type failure struct {
	Kind    string        `json:"kind"`
	Public  string        `json:"public"`
	Passing bool          `json:"passing,omitempty"`
	Wait    time.Duration `json:"wait,omitempty"`
}

func (e *errands) UploadLimit(ctx context.Context, from message.JID) (int64, error) {
	a, err := e.run(ctx, errand{From: from})
	return a.Limit, err
}

func (e *errands) RequestSlot(ctx context.Context, from message.JID, f message.File) (upload.Slot, error) {
	a, err := e.run(ctx, errand{From: from, File: &f})
	return a.Slot, err
}

// run has the errand done by whoever has the stream, which may be another by and by. The
// error is a *fault.Error.
func (e *errands) run(ctx context.Context, q errand) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, errandWait)
	defer cancel()
	q.ID = rand.Text()
	answer := e.await(q.ID)
	defer e.forget(q.ID)
	again := time.NewTicker(errandAgain)
	defer again.Stop()
	for streamless := 0; streamless < maxStreamless && ctx.Err() == nil; {
		switch {
		case !e.flows():
			streamless++
		case e.held():
			return e.do(ctx, q)
		default:
			streamless = 0
			if err := e.ask(q); err != nil {
				return place{}, err
			}
		}
		select {
		case a := <-answer:
			return a, a.err()
		case <-again.C:
		case <-ctx.Done():
		}
	}
	return place{}, fault.New(fault.Unavailable, "no posthorn that is connected to the XMPP server answered, and without it there is no place for a file: try again").MayPass()
}

// do does an errand here.
func (e *errands) do(ctx context.Context, q errand) (a place, err error) {
	if q.File == nil {
		a.Limit, err = e.here.UploadLimit(ctx, q.From)
	} else {
		a.Slot, err = e.here.RequestSlot(ctx, q.From, *q.File)
	}
	return a, err
}

// ask tells all others of the errand, of whom one has the stream.
func (e *errands) ask(q errand) error {
	text, err := json.Marshal(q)
	if err == nil {
		err = e.tell(askTopic, string(text))
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the posthorn that is connected to the XMPP server cannot be asked for a place for the file: try again").MayPass()
	}
	return nil
}

func (e *errands) await(id string) <-chan place {
	answer := make(chan place, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[id] = answer
	return answer
}

func (a *place) err() error {
	if a.Fault == nil {
		return nil
	}
	f := fault.New(fault.KindOf(a.Fault.Kind), "%s", a.Fault.Public).After(a.Fault.Wait)
	f.Passing = a.Fault.Passing
	return f
}

func (e *errands) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting, id)
}

// asked does an errand for another posthorn, where the stream is here. Who is asked again
// does it once. Beyond those that are done at once they are not: who asked tries again.
func (e *errands) asked(text string) {
	var q errand
	if !e.held() || !e.flows() || json.Unmarshal([]byte(text), &q) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, doing := e.busy[q.ID]; doing || len(e.busy) == maxErrands {
		return
	}
	e.busy[q.ID] = struct{}{}
	e.done.Go(func() { e.reply(q) })
}

func (e *errands) reply(q errand) {
	ctx, cancel := context.WithTimeout(context.Background(), errandWait)
	defer cancel()
	a, err := e.do(ctx, q)
	if a.ID = q.ID; err != nil {
		a.fail(fault.Of(err))
	}
	e.send(a)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.busy, q.ID)
}

func (a *place) fail(f *fault.Error) {
	a.Fault = &failure{Kind: f.Kind.String(), Public: f.Public, Passing: f.Passing, Wait: f.Wait}
}

// send tells an answer, which may be too long to be told.
func (e *errands) send(a place) {
	a.Header = make(map[string][]string)
	for name, values := range a.Slot.Header {
		for _, v := range values {
			a.Header[name] = append(a.Header[name], v.Reveal())
		}
	}
	a.Slot.Header = nil
	text, _ := json.Marshal(a) // never fails
	if e.tell(answerTopic, string(text)) == nil {
		return
	}
	b := place{ID: a.ID}
	b.fail(fault.New(fault.Unavailable, "the place that the upload service gave is too long to be told to another posthorn"))
	text, _ = json.Marshal(b)
	_ = e.tell(answerTopic, string(text))
}

// answered takes what another posthorn answers.
func (e *errands) answered(text string) {
	var a place
	if json.Unmarshal([]byte(text), &a) != nil {
		return
	}
	a.Slot.Header = make(map[string][]secret.Value)
	for name, values := range a.Header {
		for _, v := range values {
			a.Slot.Header[name] = append(a.Slot.Header[name], secret.New(v))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if answer := e.waiting[a.ID]; answer != nil {
		answer <- a
		delete(e.waiting, a.ID)
	}
}

// close waits for what is done for others.
func (e *errands) close() { e.done.Wait() }
