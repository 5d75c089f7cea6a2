package delivery

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	me  = message.JID("me@example.com")
	you = message.JID("you@example.com")
)

// letter is a message with that id.
func letter(from, to message.JID, id string) *message.Message {
	return &message.Message{From: from, To: to, Type: message.Chat, ID: id, Body: "text of " + id}
}

// A house is a Delivery between a stream and a keeper that a test has in its hands.
type house struct {
	*Delivery
	t      testing.TB
	stream *stream
	keeper *memory
	stop   func() // ends Run and waits for it
}

func options(s *stream) Options {
	return Options{
		ConfirmTimeout: 5 * time.Second, Keep: 72 * time.Hour, MaxKept: 1 << 20, Remember: 24 * time.Hour,
		Up: s.Up, Log: slog.New(slog.DiscardHandler),
	}
}

// build starts a Delivery on what k holds; nil: it keeps nothing. change may be nil.
func build(t testing.TB, k *memory, change func(*Options, *stream)) *house {
	h := &house{t: t, stream: newStream(t), keeper: k}
	opts := options(h.stream)
	if change != nil {
		change(&opts, h.stream)
	}
	if k == nil {
		h.Delivery = New(opts, h.stream, nil)
	} else {
		h.Delivery = New(opts, h.stream, k)
	}
	h.stream.changed = h.StreamChanged
	ctx, cancel := context.WithCancel(context.Background())
	_ = h.Open(ctx)
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	h.stop = func() { cancel(); <-done }
	return h
}

// A reply is what Deliver will have given, to be read once done is closed.
type reply struct {
	done     chan struct{}
	outcomes []message.Outcome
	err      error
}

// send delivers in the background.
func (h *house) send(ctx context.Context, r message.Request) *reply {
	p := &reply{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.outcomes, p.err = h.Deliver(ctx, r)
	}()
	return p
}

// String is the answer in words: of each message its status or the kind of its
// fault; "…" while there is none.
func (p *reply) String() string {
	select {
	case <-p.done:
	default:
		return "…"
	}
	if p.err != nil {
		return "all " + kindOf(p.err)
	}
	text := ""
	for i, o := range p.outcomes {
		if i > 0 {
			text += " "
		}
		text += describe(o)
	}
	return text
}

func describe(o message.Outcome) string {
	if o.Err != nil {
		return kindOf(o.Err)
	}
	return string(o.Status)
}

// one is a request for one message.
func one(m *message.Message) message.Request {
	return message.Request{Messages: []*message.Message{m}}
}

// keyed is a request with an idempotency key.
func keyed(key, digest string, messages ...*message.Message) message.Request {
	return message.Request{Messages: messages, Scope: key, Digest: digest}
}

func kindOf(err error) string { return fault.Of(err).Kind.String() }

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// gathered is the value of a counter.
func gathered(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Errorf("there is no %s", name)
	return 0
}
