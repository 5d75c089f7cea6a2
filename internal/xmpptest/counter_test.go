package xmpptest

import (
	"context"
	"strings"
	"testing"
)

// TestScanner: however the bytes are cut, each is found once.
func TestScanner(t *testing.T) {
	const pattern = "<message "
	for _, test := range []struct {
		text string
		want int
	}{
		{"", 0},
		{"<message ", 1},
		{"<message to='a'><body>&lt;message </body></message>", 1},
		{"<<message <message <messag<message e", 3},
		{strings.Repeat("<message />", 20), 20},
	} {
		for size := 1; size <= len(test.text)+1; size++ {
			s, got := NewScanner(pattern), 0
			for rest := []byte(test.text); len(rest) > 0; {
				n := min(size, len(rest))
				got += s.Count(rest[:n])
				rest = rest[n:]
			}
			if got != test.want {
				t.Errorf("%q in pieces of %d bytes: %d, want %d", test.text, size, got, test.want)
			}
		}
	}
}

// TestCounter counts what one user sends to another.
func TestCounter(t *testing.T) {
	p := StartProsody(t, Options{})
	p.Users(t, "secret", "me@example.com", "user@example.com")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	user, err := p.Count(ctx, "user@example.com", "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	me := p.MustLogin(t, "me@example.com", "secret")
	me.MustSend(t, strings.Repeat("<message to='user@example.com' type='chat'><body>one</body></message>", 100))
	if err := user.Await(ctx, 100); err != nil {
		t.Fatal(err)
	}
	if err := user.Await(ctx, 99); err == nil {
		t.Fatal("a message too many is not noticed")
	}
}
