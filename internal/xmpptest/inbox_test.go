package xmpptest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

// scripted is a connection from which a fixed text comes.
type scripted struct {
	net.Conn
	io.Reader
}

func (s scripted) Read(b []byte) (int, error) { return s.Reader.Read(b) }

// inbox reads the text as a client does, to its end.
func inbox(text io.Reader) *Client {
	c := &Client{
		conn:     scripted{Reader: text},
		messages: make(chan Message, inboxSize),
		others:   make(chan Message, 16),
		closing:  make(chan struct{}),
		answers:  map[string]chan Message{},
	}
	c.read()
	return c
}

func TestInbox(t *testing.T) {
	for _, test := range []struct {
		name, stream, err string
		messages, others  int
	}{
		{"nothing", "", "EOF", 0, 0},
		{"spaces keep it alive", " \n ", "EOF", 0, 0},
		{"an orderly end", "<message/></stream:stream>", "ended the stream", 1, 0},
		{"a stream error", "<message/><stream:error><reset/></stream:error>", "stream error: <stream:error><reset/>", 1, 0},
		{"a cut", "<message/><message><bo", "EOF", 1, 0},
		{"presence and a foreign IQ", "<presence/><iq type='get' id='1'/><iq type='result' id='2'/>", "EOF", 0, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := inbox(strings.NewReader(test.stream))
			if len(c.messages) != test.messages || len(c.others) != test.others {
				t.Errorf("%d messages, %d others", len(c.messages), len(c.others))
			}
			if !strings.Contains(c.err.Error(), test.err) {
				t.Error(c.err)
			}
		})
	}
}

func TestRawIsEachElementAlone(t *testing.T) {
	elements := []string{`<message id='1'/>`, `<message id="2"><body>a&gt;b</body></message>`, `<message id='3'><x><message/></x></message>`}
	c := inbox(strings.NewReader(strings.Join(elements, "\n")))
	for _, want := range elements {
		if got := <-c.messages; got.Raw != want {
			t.Errorf("got %q, want %q", got.Raw, want)
		}
	}
}

// How fast a recipient reads: it must not be what a benchmark measures.
func BenchmarkReceive(b *testing.B) {
	one := `<message from='me@example.com' to='user@example.com/rRBvTrZnhkz1' type='chat' id='0123456789abcdef0123456789abcdef'>` +
		`<body>` + strings.Repeat("x", 200) + `</body><origin-id xmlns='urn:xmpp:sid:0' id='0123456789abcdef0123456789abcdef'/></message>`
	const batch = 1000
	text := bytes.Repeat([]byte(one), batch)
	for b.Loop() {
		inbox(bytes.NewReader(text))
	}
	b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "messages/s")
}
