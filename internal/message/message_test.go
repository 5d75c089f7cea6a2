package message

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Message)
		want   string // the beginning of the error; empty: none
	}{
		{"plain", func(*Message) {}, ""},
		{"all that XML allows", func(m *Message) { m.Body = "\t\n\r \u0085\ufffd\U0010ffff<&>'\"]]>" }, ""},
		{"no body", func(m *Message) { m.Body = "" }, "body: is missing"},
		{"control character", func(m *Message) { m.Body = "a\x0b" }, "body: has the character U+000B at byte 1"},
		{"U+FFFE", func(m *Message) { m.Subject = "\ufffe" }, "subject: has the character U+FFFE"},
		{"U+FFFF", func(m *Message) { m.Subject = "\uffff" }, "subject: has the character U+FFFF"},
		{"not UTF-8", func(m *Message) { m.Thread = "ab\xff" }, "thread: is not UTF-8: wrong byte at offset 2"},
		{"surrogate", func(m *Message) { m.Nick = "\xed\xa0\x80" }, "nick: is not UTF-8"},
		{"long id", func(m *Message) { m.ID = strings.Repeat("x", maxShort+1) }, "id: is longer than 1023 bytes"},
		{"longest id", func(m *Message) { m.ID = strings.Repeat("x", maxShort) }, ""},
		{"id of two lines", func(m *Message) { m.ID = "a\nb" }, "id: has to be one line"},
		{"id with a carriage return", func(m *Message) { m.ID = "a\rb" }, "id: has to be one line"},
		{"replace with a tab", func(m *Message) { m.Replace = "a\tb" }, "replace: has to be one line"},
		{"URL", func(m *Message) { m.OOB.URL = "\x01" }, "oob: has"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &Message{From: "me@example.com", To: "user@example.com", Type: Chat, ID: "1", Body: "x"}
			test.change(m)
			err := m.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
				t.Fatalf("Validate() = %v, want %q", err, test.want)
			}
		})
	}
}

func TestUnixLines(t *testing.T) {
	if got := UnixLines("a\r\nb\rc\n\r\nd"); got != "a\nb\nc\n\nd" {
		t.Fatalf("UnixLines() = %q", got)
	}
}
