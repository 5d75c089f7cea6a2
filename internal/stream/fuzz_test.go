package stream

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// An event is what one call of Next gave.
type event struct {
	Element *Element
	Drop    DropReason
}

// events calls Next until the stream ends. whole says that the last element
// ended where the input does.
func events(t *testing.T, in io.Reader, limits Limits, left func() int) (all []event, whole bool, err error) {
	t.Helper()
	r := NewReader(in, limits)
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	for {
		e, err := r.Next()
		if len(r.piece) > limits.Size || cap(r.piece) > 2*limits.Size {
			t.Fatalf("keeps %d bytes in %d, more than %d", len(r.piece), cap(r.piece), limits.Size)
		}
		var drop *DropError
		switch {
		case errors.As(err, &drop):
			all = append(all, event{Drop: drop.Reason})
		case err != nil:
			return all, whole, err
		default:
			all = append(all, event{Element: e})
		}
		whole = r.Buffered()+left() == 0
	}
}

// sentinel is an element that must be read as it is wherever it stands.
const sentinel = `<message id='m' from='a@b'><body xml:lang='en'>1 &lt; 2</body></message>`

// FuzzNext holds the reader against a decoder that reads the whole stream as
// one document: as far as that one gets, both must see the same elements, with
// the same in them, and those over a limit dropped. An element is also read the
// same one byte at a time, and whatever framed leaves the next one alone.
func FuzzNext(f *testing.F) {
	for _, seed := range []string{
		"<a/>", "<a b='>'>c</a>", "<a><!-- > --><b/></a>", "<a><![CDATA[<]]></a>", "<a><?b ?></a>", "<a", "</a>", "<a><b></a>", "<!DOCTYPE a>", "]]>", "<a>&#x0;</a>",
		"<presence><priority>200</priority></presence>", "<a/><b/> <c>x</c>", "<!-- <a> --><a/><?x <b> ?><b/>", "<![CDATA[<a>]]><a/>", "<a><b><c><d><e><f/></e></d></c></b></a><g/>",
		"<a>" + strings.Repeat("x", 300) + "</a><b/>", "<a></stream:stream></a>", "</stream:stream><a/>", "<stream:error><x:y xmlns:x='urn:x'/></stream:error>",
		"<x:a xmlns:x='u' x:b='1' b='2'><c xmlns=''/><x:d/></x:a>", "<a b=\"'\" c='\"'/>", "<a\n/\n>", "<a b='/'/>", "<a b='x'/ >", "<a>&lt;/a>&#13;</a>", "<a><!-- -- --></a>", "<!->", "<a><![CDATA[x]]]]>y</a>",
		"<?xml version='1.0' encoding='x'?><a/>", "<a><?xml version='1.1'?></a>", "< a/>", "<>", "<a/>\x00<b/>", "<\u0221/>", "<a \u00b7b='1'/>", "<:a/><a:/><a:b:c/>",
	} {
		f.Add(seed)
	}
	limits := Limits{Size: 200, Depth: 5}
	f.Fuzz(func(t *testing.T, in string) {
		const end = "</stream:stream>"
		source := strings.NewReader(header + sentinel + in + end)
		got, _, err := events(t, source, limits, source.Len)
		want, wantErr := document(sentinel+in+end, limits)
		if wantErr == nil {
			got = got[:min(len(want), len(got))]
		} else if err != wantErr {
			t.Fatalf("ended with %v, want %v", err, wantErr)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		slow, _, slowErr := events(t, iotest.OneByteReader(strings.NewReader(header+sentinel+in+end)), limits, func() int { return 0 })
		if diff := cmp.Diff(slow[:len(got)], got); diff != "" || slowErr != err {
			t.Fatalf("%v, byte by byte %v:\n%s", err, slowErr, diff)
		}
		checkNext(t, in, limits)
	})
}

// checkNext puts the sentinel behind in, where in ends with an element.
func checkNext(t *testing.T, in string, limits Limits) {
	t.Helper()
	source := strings.NewReader(header + in)
	before, whole, _ := events(t, source, limits, source.Len)
	if !whole {
		return
	}
	source = strings.NewReader(header + in + sentinel)
	got, _, _ := events(t, source, limits, source.Len)
	want, _ := document(sentinel, limits)
	if diff := cmp.Diff(append(before, want...), got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff)
	}
}

// document reads the elements of a stream with one decoder for all of it. The
// error is how the stream ends, or nil where the decoder gave up and all that
// is known are the elements before.
func document(rest string, limits Limits) (all []event, err error) {
	d := xml.NewDecoder(strings.NewReader(header + rest))
	for opened := false; ; {
		begin := d.InputOffset()
		token, err := d.Token()
		if err != nil {
			return all, nil
		}
		switch token := token.(type) {
		case xml.Directive:
			return all, ErrRestricted
		case xml.EndElement:
			return all, io.EOF
		case xml.StartElement:
			if !opened {
				opened = true
				continue
			}
			e, depth, err := tree(d, token)
			switch size := d.InputOffset() - begin; {
			case err != nil:
				return all, endOf(err)
			case depth > limits.Depth:
				all = append(all, event{Drop: DropDepth})
			case size > int64(limits.Size):
				all = append(all, event{Drop: DropSize})
			default:
				all = append(all, event{Element: e})
			}
		}
	}
}

// endOf leaves the one error that ends the stream for a reader too.
func endOf(err error) error {
	if err == ErrRestricted {
		return err
	}
	return nil
}

// tree reads the rest of an element.
func tree(d *xml.Decoder, start xml.StartElement) (e *Element, depth int, err error) {
	e = &Element{Name: start.Name, Attrs: start.Attr}
	for {
		token, err := d.Token()
		if err != nil {
			return nil, 0, err
		}
		switch token := token.(type) {
		case xml.Directive:
			return nil, 0, ErrRestricted
		case xml.CharData:
			e.Text += string(token)
		case xml.StartElement:
			child, below, err := tree(d, token)
			if err != nil {
				return nil, 0, err
			}
			e.Children, depth = append(e.Children, child), max(depth, below)
		case xml.EndElement:
			return e, depth + 1, nil
		}
	}
}

// FuzzOpen: a header that is accepted is one under which an element can be
// read.
func FuzzOpen(f *testing.F) {
	for _, seed := range []string{
		header, "<stream:stream>", "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='x'>", "HTTP/1.1 400 Bad Request\r\n\r\n<html>",
		"<!-- --><stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='&amp;'>", "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='1' id='2'>",
		"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", "</a><a>", "<stream xmlns='http://etherx.jabber.org/streams' xmlns:m='urn:other'>",
		"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' from='" + strings.Repeat("x", 300) + "'>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		source := strings.NewReader(in)
		alone := NewReader(source, testLimits)
		if _, err := alone.Open(); err != nil || alone.Buffered()+source.Len() > 0 {
			return
		}
		r := NewReader(strings.NewReader(in+`<m:message xmlns:m='urn:m' id='m'>x</m:message>`), testLimits)
		if _, err := r.Open(); err != nil {
			t.Fatal(err)
		}
		if e, err := r.Next(); err != nil || e.Name.Space != "urn:m" || e.Attr("id") != "m" || e.Text != "x" {
			t.Fatalf("Next() = %+v, %v", e, err)
		}
	})
}

// TestEndlessElement: what never ends costs no more memory than what is large.
func TestEndlessElement(t *testing.T) {
	for _, test := range []struct{ name, begin, repeat string }{
		{"text", "<a>", "x"},
		{"attribute", "<a b='", "x"},
		{"name", "<", "a"},
		{"comment", "<!--", "-"},
		{"comment inside", "<a><!--", ">"},
		{"CDATA", "<a><![CDATA[", "]"},
		{"instruction", "<?a", "?"},
		{"depth", "", "<a>"},
		{"children", "<a>", "<b/>"},
		{"text between elements", "", " "},
	} {
		t.Run(test.name, func(t *testing.T) {
			const size = 1 << 20
			in := io.MultiReader(strings.NewReader(header+test.begin), io.LimitReader(&repeater{text: test.repeat}, size))
			r := NewReader(in, testLimits)
			if _, err := r.Open(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Next(); err != io.ErrUnexpectedEOF {
				t.Fatalf("Next() = %v, want the end of the connection", err)
			}
			if cap(r.piece) > 2*testLimits.Size {
				t.Fatalf("keeps %d bytes", cap(r.piece))
			}
		})
	}
}

// A repeater says one thing over and over.
type repeater struct {
	text string
	next int
}

func (r *repeater) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.next]
		r.next = (r.next + 1) % len(r.text)
	}
	return len(p), nil
}

// TestWellFormed: whatever is well-formed is framed as the elements it is made
// of, also where the decoder does not know its names.
func TestWellFormed(t *testing.T) {
	for seed := range uint64(200) {
		g := wellFormed{rand.New(rand.NewPCG(seed, 0))}
		var in strings.Builder
		var want []string
		for range 20 {
			in.WriteString(pick(g, "", " ", "<!-- - -> <a> ]]> <a> ?> <a> -->", "<?a > <a> ? > <a> '\" ?>", "\n"))
			name := pick(g, "a", "message", "\u0221", "x.y-z")
			in.WriteString(g.element(name, g.IntN(5)) + sentinel)
			want = append(want, name, "message")
		}
		source := strings.NewReader(header + in.String() + "</stream:stream>")
		all, _, err := events(t, source, Limits{Size: 1 << 20, Depth: 10}, source.Len)
		if len(all) != len(want) || err != io.EOF {
			t.Fatalf("seed %d: %d elements, want %d; %v", seed, len(all), len(want), err)
		}
		for i, got := range all {
			if got.Drop != "" && (got.Drop != DropSyntax || want[i] == "message") || got.Drop == "" && got.Element.Name.Local != want[i] {
				t.Fatalf("seed %d: element %d is %+v, want %s", seed, i, got, want[i])
			}
		}
	}
}

// wellFormed makes elements at random.
type wellFormed struct{ *rand.Rand }

func pick(g wellFormed, from ...string) string { return from[g.IntN(len(from))] }

func (g wellFormed) element(name string, depth int) string {
	tag := "<" + name
	for i := range g.IntN(3) {
		tag += fmt.Sprint(pick(g, " ", "\n", "\t "), "b", i, pick(g, "=", " = "), pick(g, `'>'`, `"/>"`, `'"'`, `"'/>"`, `'&lt;!--'`, `"]]>"`, `'?>'`, `''`))
	}
	if g.IntN(4) == 0 {
		return tag + pick(g, "/>", " />", "\n/>")
	}
	tag += pick(g, ">", " >")
	for range g.IntN(5) {
		tag += pick(g, "", "text", "' \" > / ?> -- -> ]]", "&lt;&#62;", "<![CDATA[]]>", "<![CDATA[]> <a> ]] <a> --> <a> ?> <a> ]]]]>", "<![CDATA[<!--]]>",
			"<!-- - -> <a> ]]> <a> ?> <a> -->", "<!---->", "<?p > <a> ? > <a> --> <a> ]]> <a> ?>")
		if depth > 0 && g.IntN(2) == 0 {
			tag += g.element(pick(g, "c", "d", name), depth-1)
		}
	}
	return tag + "</" + name + pick(g, ">", " >")
}
