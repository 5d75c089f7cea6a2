package delivery

import (
	"context"
	"testing"

	"posthorn/internal/message"
)

// A prompt sender tells at once.
type prompt struct{}

func never() bool { return false }

func (prompt) Submit(_ *message.Message, told func(message.Status, error)) (func() bool, error) {
	told(message.Delivered, nil)
	return never, nil
}

func (prompt) Fits(*message.Message) error { return nil }

// BenchmarkDeliver is a message while nothing is kept.
func BenchmarkDeliver(b *testing.B) {
	opts := options(newStream(b))
	opts.Up = func() bool { return true }
	d := New(opts, prompt{}, newMemory())
	if err := d.Open(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := one(letter(me, you, "1"))
		for pb.Next() {
			if outcomes, err := d.Deliver(context.Background(), r); err != nil || outcomes[0].Err != nil {
				b.Error(outcomes, err)
			}
		}
	})
}
