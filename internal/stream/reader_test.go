package stream

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gosrc.io/xmpp/stanza"
)

const header = `<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s1'>`

var testLimits = Limits{Size: 200, Depth: 5}

func open(t *testing.T, rest string) *Reader {
	t.Helper()
	r := NewReader(iotest.OneByteReader(strings.NewReader(header+rest)), testLimits)
	if id, err := r.Open(); err != nil || id != "s1" {
		t.Fatalf("Open() = %q, %v", id, err)
	}
	return r
}

// TestNext: whatever comes first, the message after it is read.
func TestNext(t *testing.T) {
	for _, test := range []struct {
		name, in string
		drop     DropReason // what becomes of the first element; empty: it is not one
	}{
		{"nothing", "", ""},
		{"keep-alive", " \n ", ""},
		{"comment", "<!-- <a> -- > -->", ""},
		{"processing instruction", "<?a <b> ?>", ""},
		{"comment inside", "<a><!-- </a> --></a>", "none"},
		{"CDATA inside", "<a><![CDATA[</a>]]]]></a>", "none"},
		{"almost the end of CDATA", "<a><![CDATA[]></a>]]</a>]]></a>", "none"},
		{"almost the end of a comment", "<a><!-- -></a> --></a>", "none"},
		{"almost the end of an instruction", "<?a > <b> ?>", ""},
		{"brackets in quotes", `<a b='/>' c="'>"/>`, "none"},
		{"empty with a space", "<a />", "none"},
		{"nested as deep as may be", "<a><a><a><a><a/></a></a></a></a>", "none"},
		{"too deep", "<a><a><a><a><a><a></a></a></a></a></a></a>", DropDepth},
		{"too deep by an empty one", "<a><a><a><a><a><a/></a></a></a></a></a>", DropDepth},
		{"too large", "<a b='" + strings.Repeat("x", 300) + "'><c/></a>", DropSize},
		{"a name that Go refuses", "<a\u0221/>", DropSyntax},
		{"unknown entity", "<a>&b;</a>", DropSyntax},
		{"ends crossed", "<a><b></a></b>", DropSyntax},
		{"no name", "< a></ a>", DropSyntax},
		{"not UTF-8", "<a>\xff</a>", DropSyntax},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := open(t, test.in+`<message id='m'/></stream:stream>`)
			if test.drop != "" {
				_, err := r.Next()
				var drop *DropError
				if test.drop == "none" && err != nil || test.drop != "none" && (!errors.As(err, &drop) || drop.Reason != test.drop) {
					t.Fatalf("first Next() = %v, want %s", err, test.drop)
				}
			}
			e, err := r.Next()
			if err != nil || e.Attr("id") != "m" || e.Name.Space != stanza.NSComponent {
				t.Fatalf("Next() = %+v, %v; want the message", e, err)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("Next() at the end = %v, want EOF", err)
			}
		})
	}
}

func TestNextEndsTheStream(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     error
	}{
		{"closed", "</stream:stream>", io.EOF},
		{"cut between elements", "", io.ErrUnexpectedEOF},
		{"cut in an element", "<a><b>", io.ErrUnexpectedEOF},
		{"cut in a tag", "<a b='", io.ErrUnexpectedEOF},
		{"document type", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", ErrRestricted},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := open(t, test.in).Next(); !errors.Is(err, test.want) {
				t.Fatalf("Next() = %v, want %v", err, test.want)
			}
		})
	}
}

func TestElement(t *testing.T) {
	e, err := open(t, `<message xmlns:e='urn:e' e:from='admin@x' from='me@y' type='error'><x xmlns='urn:x'><error/></x>`+
		`<error><gone xmlns='urn:g'/><a xmlns='urn:c'/><text xmlns='urn:c'>why</text></error></message>`).Next()
	if err != nil {
		t.Fatal(err)
	}
	if from := e.Attr("from"); from != "me@y" {
		t.Errorf("Attr(from) = %q: an attribute of another namespace was taken", from)
	}
	condition, text := e.Child(stanza.NSComponent, "error").Condition("urn:c")
	if condition != "a" || text != "why" {
		t.Errorf("Condition() = %q, %q", condition, text)
	}
	if e.Child(stanza.NSComponent, "x").Child("urn:x", "y") != nil {
		t.Error("Child found what is not there")
	}
}

func TestNextPacket(t *testing.T) {
	r := open(t, `<handshake/><stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`)
	if p, err := r.NextPacket(); err != nil || p.Name() != "component:handshake" {
		t.Fatalf("NextPacket() = %v, %v; want the handshake", p, err)
	}
	p, err := r.NextPacket()
	if e, ok := p.(stanza.StreamError); err != nil || !ok || e.Error.Local != "host-unknown" {
		t.Fatalf("NextPacket() = %+v, %v; want the stream error", p, err)
	}
}
