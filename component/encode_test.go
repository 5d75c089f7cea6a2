package component

import (
	"encoding/xml"
	"testing"
	"time"

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
	got := parse(t, appendMessage(nil, m, "", "", time.Time{}))
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

func TestEncodingAllocatesNothing(t *testing.T) {
	d := &delivery{message: text("user@example.com", "a1")}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = d.append(buf[:0], "post.example.com", voice{direct: true}, time.Time{}) }); n != 0 {
		t.Fatalf("%v allocations a message", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	d := &delivery{message: text("user@example.com", "a1")}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = d.append(buf[:0], "post.example.com", voice{direct: true}, time.Time{})
	}
}
