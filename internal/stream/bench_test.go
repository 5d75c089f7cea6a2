package stream

import (
	"io"
	"strings"
	"testing"
)

// again gives the same text for ever.
type again struct {
	text string
	rest string
}

func (a *again) Read(p []byte) (int, error) {
	if a.rest == "" {
		a.rest = a.text
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// BenchmarkNext is what the server's word on a batch, on a failure and on a
// message to a room costs to frame and decode, and to frame alone.
func BenchmarkNext(b *testing.B) {
	for _, element := range []struct{ name, text string }{
		{"barrier", `<iq type='get' from='post.example.com' to='post.example.com' id='ABCDEFGHIJKLMNOPQRSTUVWXYZ'><ping xmlns='urn:xmpp:ping'/></iq>`},
		{"bounce", `<message id='ABCDEFGHIJKLMNOPQRSTUVWXYZ' type='error' to='me@example.com' from='ghost@example.com'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`},
		{"reflection", `<message from='ops@rooms.example.com/me' to='me\40example.com@post.example.com/posthorn' id='ABCDEFGHIJKLMNOPQRSTUVWXYZ' type='groupchat'><body>Server@host has just crashed!</body><origin-id xmlns='urn:xmpp:sid:0' id='ABCDEFGHIJKLMNOPQRSTUVWXYZ'/></message>`},
	} {
		for name, next := range map[string]func(*Reader) error{
			"frame":  func(r *Reader) error { _, err := r.frame(); return err },
			"decode": func(r *Reader) error { _, err := r.Next(); return err },
		} {
			b.Run(element.name+"/"+name, func(b *testing.B) {
				r := NewReader(io.MultiReader(strings.NewReader(header), &again{text: element.text}), Limits{Size: 1 << 20, Depth: 128})
				if _, err := r.Open(); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := next(r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
