package component

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
)

// parsed is a stanza as an independent parser sees it.
type parsed struct {
	XMLName xml.Name `xml:"message"`
	From    string   `xml:"from,attr"`
	To      string   `xml:"to,attr"`
	Type    string   `xml:"type,attr"`
	ID      string   `xml:"id,attr"`
	Lang    string   `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`
	Body    []string `xml:"body"`
	Subject []string `xml:"subject"`
	Thread  string   `xml:"thread"`
	OOB     struct {
		URL  string `xml:"url"`
		Desc string `xml:"desc"`
	} `xml:"jabber:x:oob x"`
	Replace struct {
		ID string `xml:"id,attr"`
	} `xml:"urn:xmpp:message-correct:0 replace"`
	Origin struct {
		ID string `xml:"id,attr"`
	} `xml:"urn:xmpp:sid:0 origin-id"`
	HTML struct {
		Inner string `xml:",innerxml"`
	} `xml:"http://jabber.org/protocol/xhtml-im html"`
}

func parse(t *testing.T, stanza []byte) parsed {
	t.Helper()
	var p parsed
	if err := xml.Unmarshal(stanza, &p); err != nil {
		t.Fatalf("not well-formed: %v\n%s", err, stanza)
	}
	return p
}

func TestAppendMessage(t *testing.T) {
	m := &message.Message{
		From: "me@example.com", To: "user@example.com/a'b<c&d\"e>", Type: message.Headline, ID: "i'<&\">",
		Body: "1 < 2 & 3 > \"2\"\n\t]]> 'end'", Subject: "<s>", Thread: "t&t", Lang: "en",
		OOB: message.OOB{URL: "https://example.com/?a=1&b=2", Desc: "<d>"}, Replace: "r'1", HTML: "<p>a<br/></p>",
	}
	got := parse(t, appendMessage(nil, m, ""))
	if got.From != "me@example.com" || got.To != string(m.To) || got.Type != "headline" || got.ID != m.ID || got.Lang != "en" ||
		got.Thread != m.Thread || got.OOB.URL != m.OOB.URL || got.OOB.Desc != m.OOB.Desc || got.Replace.ID != m.Replace || got.Origin.ID != m.ID {
		t.Errorf("read back %+v", got)
	}
	if diff := cmp.Diff([]string{m.Body}, got.Body); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{m.Subject}, got.Subject); diff != "" {
		t.Error(diff)
	}
	if want := "<body xmlns='http://www.w3.org/1999/xhtml'><p>a<br/></p></body>"; got.HTML.Inner != want {
		t.Errorf("html is %q, want %q", got.HTML.Inner, want)
	}
}

// FuzzAppendMessage: whatever passes validation comes out as one well-formed
// stanza with the right from, to and body, by an independent parser.
func FuzzAppendMessage(f *testing.F) {
	f.Add("user@example.com", "text", "subject", "id", "thread", "en", "https://example.com", "r")
	f.Add("user@example.com/'><x", "</body></message><message from='admin@example.com'>", "]]>", "'/>", "&#x0;", "'", "<!--", "&")
	f.Add("a@b", "\u2028\ufdd0\U0010ffff", "\t\r\n", "\u0085", "<![CDATA[", "?>", "\u202e", "\ufffd")
	f.Fuzz(func(t *testing.T, to, body, subject, id, thread, lang, url, replace string) {
		j, err := message.ParseRecipient(to)
		if err != nil {
			j = "user@example.com"
		}
		m := &message.Message{From: "me@example.com", To: j, Type: message.Chat, ID: id, Body: message.UnixLines(body), Subject: message.UnixLines(subject),
			Thread: thread, Lang: lang, OOB: message.OOB{URL: url}, Replace: replace}
		if m.Validate() != nil {
			return
		}
		d := &delivery{message: m, wireID: "outer"}
		for _, stanza := range [][]byte{
			appendMessage(nil, m, ""),
			inner(t, d.append(nil, "post.example.com", voice{namespace: "urn:xmpp:privilege:2"})),
		} {
			got := parse(t, stanza)
			if got.From != string(m.From) || got.To != string(m.To) || got.ID != m.ID || got.Origin.ID != m.ID || got.Type != "chat" {
				t.Fatalf("addresses or ids are wrong: %+v", got)
			}
			if len(got.Body) != 1 || got.Body[0] != m.Body || strings.Join(got.Subject, "|") != m.Subject || got.Thread != m.Thread {
				t.Fatalf("texts are wrong: %+v, want %+v", got, m)
			}
		}
	})
}

// inner takes the one message out of a privilege.
func inner(t *testing.T, wrapper []byte) []byte {
	t.Helper()
	var w struct {
		From      string `xml:"from,attr"`
		Privilege []struct {
			Forwarded []struct {
				Inner []byte `xml:",innerxml"`
			} `xml:"urn:xmpp:forward:0 forwarded"`
		} `xml:"urn:xmpp:privilege:2 privilege"`
	}
	if err := xml.Unmarshal(wrapper, &w); err != nil || w.From != "post.example.com" || len(w.Privilege) != 1 || len(w.Privilege[0].Forwarded) != 1 {
		t.Fatalf("the wrapper reads as %+v, %v", w, err)
	}
	return w.Privilege[0].Forwarded[0].Inner
}

func TestEncodingAllocatesNothing(t *testing.T) {
	d := &delivery{message: text("user@example.com", "a1")}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = d.append(buf[:0], "post.example.com", voice{direct: true}) }); n != 0 {
		t.Fatalf("%v allocations a message", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	d := &delivery{message: text("user@example.com", "a1")}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = d.append(buf[:0], "post.example.com", voice{direct: true})
	}
}
