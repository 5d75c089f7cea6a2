package component

import (
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// An element is what a parser that is not ours makes of one.
type element struct {
	Name     xml.Name
	Attrs    map[xml.Name]string
	Text     string
	Children []*element
}

func (e *element) attr(local string) string { return e.Attrs[xml.Name{Local: local}] }

// children gives the direct children of that name.
func (e *element) children(space, local string) (found []*element) {
	for _, c := range e.Children {
		if c.Name.Space == space && c.Name.Local == local {
			found = append(found, c)
		}
	}
	return found
}

// parseOne reads a stanza as it stands in a stream, and fails where there is
// more or less than one.
func parseOne(t *testing.T, stanza []byte) *element {
	t.Helper()
	all := parseAll(t, string(stanza))
	if len(all) != 1 {
		t.Fatalf("%d stanzas in place of one: %q", len(all), stanza)
	}
	return all[0]
}

// parseAll reads stanzas to the end of in.
func parseAll(t *testing.T, in string) (all []*element) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(in))
	d.DefaultSpace = "stream"
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		start, ok := token.(xml.StartElement)
		if err != nil || !ok {
			t.Fatalf("%T between stanzas, %v: %q", token, err, in)
		}
		all = append(all, parseRest(t, d, start))
	}
}

func parseRest(t *testing.T, d *xml.Decoder, start xml.StartElement) *element {
	e := &element{Name: start.Name, Attrs: make(map[xml.Name]string)}
	for _, a := range start.Attr {
		if _, twice := e.Attrs[a.Name]; twice {
			t.Fatalf("%v has %v twice", e.Name, a.Name)
		}
		e.Attrs[a.Name] = a.Value
	}
	for {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("in %v: %v", e.Name, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e.Children = append(e.Children, parseRest(t, d, token))
		case xml.CharData:
			e.Text += string(token)
		case xml.EndElement:
			return e
		default:
			t.Fatalf("%T in %v", token, e.Name)
		}
	}
}

// FuzzAppendMessage: whatever passes validation comes out as one well-formed
// stanza, with everything in its place and nothing beside it, by a parser that
// is not ours.
func FuzzAppendMessage(f *testing.F) {
	f.Add("me@example.com", "user@example.com", "chat", "text", "subject", "id", "thread", "en", "<p>a<br>b</p>", "https://example.com", "desc", "r")
	f.Add("o&apos;x@example.com", "user@example.com/'><x", "normal", "</body></message><message from='admin@example.com'>", "]]>", "'/>", "&#x0;", "'", "</body></html></message>", "<!--", "-->", "&")
	f.Add("a@b", "a@b", "headline", "\u2028\ufdd0\U0010ffff", "\t\r\n", "\u0085", "<![CDATA[", "?>", "<img src='cid:x' alt=\"'>\">", "\u202e", "\ufffd", "")
	f.Add("a@b", "a@b/ \u00a0", "groupchat", "\r", "", "", "", "", "&lt;/p>&#13;&#x1;<a href='http://x/?a&b&quot;'>", "", "only desc", "")
	f.Fuzz(func(t *testing.T, from, to, kind, body, subject, id, thread, lang, html, url, desc, replace string) {
		m := &message.Message{From: orElse(message.ParseAccount(from))("me@example.com"), To: orElse(message.ParseRecipient(to))("user@example.com"),
			Type: orElse(message.ParseType(kind))(message.Chat), HTML: orElse(message.SanitizeHTML(html))(""), Body: "." + sendable(body), Subject: sendable(subject),
			OOB: message.OOB{URL: sendable(url), Desc: sendable(desc)}, ID: oneLine(sendable(id)), Thread: oneLine(sendable(thread)), Lang: oneLine(sendable(lang)), Replace: oneLine(sendable(replace))}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		d := &delivery{message: m, wireID: "outer", occupant: (&rooms{domain: "post.example.com"}).occupantOf(m.From)}
		said := *m
		if d.toRoom() { // as itself, which the server lets it be
			said.From = d.occupant
		}
		checkMessage(t, parseOne(t, d.append(nil, "post.example.com", voice{direct: true}, time.Time{})), "stream", &said)
		checkFramed(t, d)
		if !d.toRoom() {
			wrapper := parseOne(t, d.append(nil, "post.example.com", voice{namespace: "urn:xmpp:privilege:2"}, time.Time{}))
			checkMessage(t, unwrap(t, wrapper, m.From.Domain()), "jabber:client", m)
		}
	})
}

// orElse puts a value in the place of one that is refused, so that the rest of
// the message is tried all the same.
func orElse[T any](value T, err error) func(T) T {
	return func(other T) T {
		if err != nil {
			return other
		}
		return value
	}
}

// sendable leaves out what Validate refuses.
func sendable(s string) string {
	return message.UnixLines(strings.Map(func(r rune) rune {
		if message.CheckText(string(r)) != nil {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
}

// checkMessage compares a stanza, child by child, with what it was made of.
func checkMessage(t *testing.T, got *element, space string, m *message.Message) {
	t.Helper()
	attrs := map[xml.Name]string{{Local: "from"}: string(m.From), {Local: "to"}: string(m.To), {Local: "type"}: string(m.Type), {Local: "id"}: m.ID}
	if space != "stream" {
		attrs[xml.Name{Local: "xmlns"}] = space
	}
	if m.Lang != "" {
		attrs[xml.Name{Space: "http://www.w3.org/XML/1998/namespace", Local: "lang"}] = m.Lang
	}
	if diff := cmp.Diff(attrs, got.Attrs); diff != "" || got.Name != (xml.Name{Space: space, Local: "message"}) || got.Text != "" {
		t.Fatalf("%v with the text %q and the attributes\n%s", got.Name, got.Text, diff)
	}
	want := map[xml.Name]string{{Space: space, Local: "body"}: m.Body, {Space: "urn:xmpp:sid:0", Local: "origin-id"}: ""}
	for name, value := range map[xml.Name]string{
		{Space: space, Local: "subject"}:                              m.Subject,
		{Space: space, Local: "thread"}:                               m.Thread,
		{Space: "http://jabber.org/protocol/xhtml-im", Local: "html"}: m.HTML,
		{Space: "jabber:x:oob", Local: "x"}:                           m.OOB.URL,
		{Space: "urn:xmpp:message-correct:0", Local: "replace"}:       m.Replace,
	} {
		if value != "" {
			want[name] = value
		}
	}
	for _, c := range got.Children {
		value, expected := want[c.Name]
		if !expected {
			t.Fatalf("%v is there, or there twice", c.Name)
		}
		delete(want, c.Name)
		checkChild(t, c, value, m)
	}
	if len(want) > 0 {
		t.Fatalf("missing: %v", want)
	}
}

func checkChild(t *testing.T, c *element, value string, m *message.Message) {
	t.Helper()
	switch c.Name.Local {
	case "html":
		const xhtml = "http://www.w3.org/1999/xhtml"
		bodies := c.children(xhtml, "body")
		want := parseOne(t, []byte("<body xmlns='"+xhtml+"'>"+m.HTML+"</body>"))
		if diff := cmp.Diff([]*element{want}, bodies); diff != "" || len(c.Children) != 1 {
			t.Fatalf("html:\n%s", diff)
		}
	case "x":
		want := []string{m.OOB.URL}
		if m.OOB.Desc != "" {
			want = append(want, m.OOB.Desc)
		}
		var got []string
		for _, c := range c.Children {
			got = append(got, c.Text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	case "replace":
		if c.attr("id") != value {
			t.Fatalf("replaces %q, want %q", c.attr("id"), value)
		}
	case "origin-id":
		if c.attr("id") != m.ID {
			t.Fatalf("origin-id is %q, want %q", c.attr("id"), m.ID)
		}
	default:
		if c.Text != value || len(c.Children) > 0 {
			t.Fatalf("%s is %q, want %q", c.Name.Local, c.Text, value)
		}
	}
}

// unwrap gives the one stanza in a privilege (XEP-0356 §5.3).
func unwrap(t *testing.T, wrapper *element, host string) *element {
	t.Helper()
	if diff := cmp.Diff(map[xml.Name]string{{Local: "from"}: "post.example.com", {Local: "to"}: host, {Local: "id"}: "outer"}, wrapper.Attrs); diff != "" {
		t.Fatal(diff)
	}
	e := wrapper
	for _, name := range []xml.Name{{Space: "urn:xmpp:privilege:2", Local: "privilege"}, {Space: "urn:xmpp:forward:0", Local: "forwarded"}, {Space: "jabber:client", Local: "message"}} {
		if len(e.Children) != 1 || e.Children[0].Name != name || e.Text != "" {
			t.Fatalf("%v holds %+v, want one %v", e.Name, e.Children, name)
		}
		e = e.Children[0]
	}
	return e
}

// checkFramed: what we write is one element for a reader of streams as well.
func checkFramed(t *testing.T, d *delivery) {
	t.Helper()
	written := d.append(nil, "post.example.com", voice{direct: true}, time.Time{})
	r := openStream(t, string(appendBarrier(written, "post.example.com", "b")))
	for _, name := range []string{"message", "iq"} {
		if e, err := r.Next(); err != nil || e.Name.Local != name {
			t.Fatalf("read %+v, %v; want %s", e, err, name)
		}
	}
}

func openStream(t *testing.T, rest string) *stream.Reader {
	t.Helper()
	r := stream.NewReader(strings.NewReader("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>"+rest), stream.Limits{Size: readSize, Depth: readDepth})
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	return r
}

// FuzzReceive: of whatever comes in, only what the server alone can say
// settles a message, and each question gets at most one answer, which goes to
// who asked and is one well-formed stanza. A command is done for the client's own
// account alone, and with values of the form alone.
func FuzzReceive(f *testing.F) {
	for _, seed := range slices.Concat(strange, []string{
		`<iq from='post.example.com' to='post.example.com' id='b1' type='get'/>`,
		`<iq from='post.example.com' to='post.example.com' id='b2' type='error'/>`,
		`<iq from='post.example.com/x' to='post.example.com' id='b2' type='result'/>`,
		`<message type='error' from='user@example.com' to='me@example.com' id='m1'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
		`<message type='error' from='example.com' to='post.example.com' id='outer'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
		`<message type='error' from='user@example.com' to='me@example.com' id='outer'/>`,
		`<message type='error' from='example.com' to='post.example.com' id='m1'/>`,
		`<message type='chat' from='user@example.com' to='me@example.com' id='m1'/>`,
		`<x:message xmlns:x='jabber:client' type='error' from='user@example.com' to='me@example.com' id='m1'/>`,
		`<message from='example.com' to='post.example.com'><privilege xmlns='urn:xmpp:privilege:2'><perm type='outgoing' access='message'/></privilege></message>`,
		`<message from='example.com' to='post.example.com'><privilege xmlns='urn:xmpp:privilege:1'><perm type='outgoing' access='roster'/></privilege></message>`,
		`<iq from='a@b/&#13;&#10;&apos;&lt;' to='x@post.example.com/"' id='&gt;&#9;' type='set'/>`,
		`<iq from='a@b' to='post.example.com' id='1' type='get'><query xmlns='http://jabber.org/protocol/disco#info' node='x'/></iq>`,
		`<iq from='a@b' to='post.example.com' id='1' type='get'><query xmlns='jabber:iq:version'/></iq><iq from='a@b' to='post.example.com' id='2' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<message type='groupchat' from='room@rooms.example.com/me' to='me\40example.com@post.example.com/posthorn' id='r1'><body>text r1</body></message>`,
		`<message type='groupchat' from='room@rooms.example.com/you' to='me\40example.com@post.example.com/posthorn' id='new'><body>text r1</body><origin-id xmlns='urn:xmpp:sid:0' id='r1'/></message>`,
		`<message type='groupchat' from='a@b' to='me\40example.com@post.example.com/posthorn' id='r1'><body>text r1</body></message>`,
		`<message type='error' from='room@rooms.example.com' to='me\40example.com@post.example.com/posthorn' id='r1'><error type='auth'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
		`<message type='error' from='room@rooms.example.com' to='me@example.com' id='r1'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
		`<presence from='room@rooms.example.com/me' to='me\40example.com@post.example.com/posthorn'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/><status code='201'/></x></presence>`,
		`<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`,
		`<error xmlns='http://etherx.jabber.org/streams'/>`,
		command(client, "node='make'", ""),
		command(client, "node='list' action='execute'", ""),
		command(client, "node='make' action='complete' sessionid='SESSION'", submit("name=n", "lines=a", "one=a", "some=c")),
		command(client, "node='make' sessionid='SESSION'", submit("name=&lt;&#10;&gt;", "owner=you@example.com")),
		command(client, "node='make' action='cancel' sessionid='SESSION'", ""),
		command("me@example.com", "node='list'", ""),
		command("me@example.org/phone", "node='make' sessionid='SESSION'", submit("name=n")),
		command("room@rooms.example.com/me@example.com", "node='list'", ""),
		`<iq type='get' from='me@example.com/phone' to='post.example.com' id='1'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>`,
		`<iq type='get' from='me@example.com/phone' to='post.example.com' id='1'><query xmlns='http://jabber.org/protocol/disco#info' node='make'/></iq>`,
		`<message type='chat' from='me@example.com/phone' to='post.example.com' id='1'><body>hello</body></message>`,
		`<message from='me@example.com/phone' to='post.example.com'><body>hello</body><delay xmlns='urn:xmpp:delay'/></message>`,
		`<message type='chat' from='me@example.com' to='post.example.com'><body>hello</body></message>`,
	}) {
		if len(seed) < 4096 {
			f.Add(seed)
		}
	}
	for _, answer := range []string{slotGiven, uploadInfo, `<error type='wait'/>`} {
		f.Add(`<iq type='result' from='upload.example.com' to='` + meThere + `' id='q1'>` + answer + `</iq>`)
		f.Add(`<iq type='error' from='upload.example.org' to='` + meThere + `' id='q1'>` + answer + `</iq>`)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r := openStream(t, in)
		for range 16 {
			e, err := r.Next()
			if err != nil && !errors.As(err, new(*stream.DropError)) {
				return
			}
			if err == nil {
				checkReceive(t, e)
			}
		}
	})
}

// checkReceive gives e to a session with three messages in flight, each before
// a barrier of its own.
func checkReceive(t *testing.T, e *stream.Element) {
	t.Helper()
	sold := &shop{}
	c := New(Options{Domain: "post.example.com", Hosts: []string{"example.com"}, Version: "<1>", MaxStanza: MaxStanzaLimit, Commands: sold.commands(), Log: slog.New(slog.DiscardHandler)})
	beginSession(c.desk, e)
	s := newSession(c, nil, nil)
	direct, directOutcome := watched(&delivery{message: text("user@example.com", "m1"), wireID: "m1", tells: true})
	wrapped, wrappedOutcome := watched(&delivery{message: text("user@example.com", "m1"), wireID: "outer", wrapped: true})
	s.inflight.add(batch{barrier: "b1", deliveries: []*delivery{direct}})
	said, saidOutcome := watched(&delivery{message: text("room@rooms.example.com", "r1"), wireID: "r1", occupant: `me\40example.com@post.example.com/posthorn`})
	said.message.Type = message.GroupChat
	s.inflight.add(batch{barrier: "b2", deliveries: []*delivery{wrapped}})
	s.inflight.add(batch{barrier: "b3", deliveries: []*delivery{said}})
	asked := inquiry{said.occupant, "upload.example.com", "q1"}
	answer := c.inquiries.add(asked, "")

	ended := s.receive(t.Context(), e) != nil
	s.working.Wait()
	if want := e.Name == (xml.Name{Space: "http://etherx.jabber.org/streams", Local: "error"}); ended != want {
		t.Fatalf("ended the stream: %v, want %v", ended, want)
	}
	own := plainAttrs(e)
	is := func(local, kind, from, to, id string) bool {
		return e.Name == (xml.Name{Space: "jabber:component:accept", Local: local}) && (kind == "" || own["type"] == kind) && own["from"] == from && own["to"] == to && own["id"] == id
	}
	third := is("iq", "", "post.example.com", "post.example.com", "b3")
	first := is("iq", "", "post.example.com", "post.example.com", "b1")
	both := is("iq", "", "post.example.com", "post.example.com", "b2") || third
	wantOutcome(t, directOutcome, first || both, e.Name.Local == "message" && own["type"] == "error" && own["to"] == "me@example.com" && own["id"] == "m1")
	wantOutcome(t, wrappedOutcome, both, is("message", "error", "example.com", "post.example.com", "outer"))
	room, _, _ := strings.Cut(own["from"], "/")
	answered := room == "room@rooms.example.com" && own["to"] == string(said.occupant) && e.Name.Local == "message"
	wantOutcome(t, saidOutcome, len(saidOutcome) > 0 && answered && own["type"] == "groupchat", answered && own["type"] == "error" && own["id"] == "r1")
	if granted := c.voice("example.com").speaks(); granted && !is("message", "", "example.com", "post.example.com", own["id"]) {
		t.Fatal("a stranger granted a privilege")
	}
	if got, want := len(answer) > 0, is("iq", "result", asked.of, string(asked.asker), asked.id) || is("iq", "error", asked.of, string(asked.asker), asked.id); got != want {
		t.Fatalf("taken for the answer: %v", got)
	}
	checkDone(t, sold.take(), e, own)
	checkAnswer(t, s, e, own, first || both)
}

// beginSession puts the id of a session of the client's into a command that says
// SESSION, since a fuzzer cannot guess one.
func beginSession(d *desk, e *stream.Element) {
	if len(e.Children) == 0 {
		return
	}
	for i := range e.Children[0].Attrs {
		if a := &e.Children[0].Attrs[i]; a.Value == "SESSION" {
			a.Value = d.sessionID(client, "make", time.Now())
		}
	}
}

func checkDone(t *testing.T, all []done, e *stream.Element, own map[string]string) {
	t.Helper()
	if len(all) == 0 {
		return
	}
	name, resource, _ := strings.Cut(own["from"], "@example.com/")
	if len(all) > 1 || string(all[0].Owner) != name+"@example.com" || name == "" || resource == "" || strings.ContainsAny(name, "@/") ||
		e.Name != (xml.Name{Space: "jabber:component:accept", Local: "iq"}) || own["type"] != "set" || own["to"] != "post.example.com" || len(e.Children) != 1 {
		t.Fatalf("%v did %v", own, all)
	}
	for field, values := range all[0].Values {
		if !slices.Contains([]string{"name", "lines", "one", "some"}, field) ||
			field == "name" && len(values) != 1 || field == "one" && len(values) > 1 || strings.ContainsAny(strings.Join(values, ""), "\n") {
			t.Fatalf("%s is %q", field, values)
		}
	}
}

// plainAttrs gives the attributes in no namespace; of several with one name,
// which no well-formed element has, the first.
func plainAttrs(e *stream.Element) map[string]string {
	own := make(map[string]string)
	for _, a := range slices.Backward(e.Attrs) {
		if a.Name.Space == "" {
			own[a.Name.Local] = a.Value
		}
	}
	return own
}

// watched lets d tell its outcome through a channel.
func watched(d *delivery) (*delivery, chan outcome) {
	outcomes := make(chan outcome, 1)
	d.told = func(o outcome) { outcomes <- o }
	return d, outcomes
}

func wantOutcome(t *testing.T, outcomes chan outcome, confirmed, mayBounce bool) {
	t.Helper()
	select {
	case o := <-outcomes:
		if (o.err == nil) != confirmed || o.err != nil && !mayBounce {
			t.Fatalf("settled with %q, %v", o.status, o.err)
		}
	default:
		if confirmed {
			t.Fatal("not settled")
		}
	}
}

func checkAnswer(t *testing.T, s *session, e *stream.Element, own map[string]string, barrier bool) {
	t.Helper()
	if len(s.answers) == 0 {
		return
	}
	raw := <-s.answers
	got := parseOne(t, raw)
	if got.Name.Local == "message" {
		checkHint(t, s, e, own, got)
		return
	}
	if kind := own["type"]; len(s.answers) > 0 || barrier || kind != "get" && kind != "set" {
		t.Fatalf("answered a %q", kind)
	}
	if kind := got.attr("type"); got.Name.Local != "iq" || kind != "result" && kind != "error" ||
		got.attr("from") != own["to"] || got.attr("to") != own["from"] || got.attr("id") != own["id"] || len(got.Attrs) != 4 {
		t.Fatalf("%v is answered with %s", own, raw)
	}
}

func checkHint(t *testing.T, s *session, e *stream.Element, own map[string]string, got *element) {
	t.Helper()
	bodies := got.children("stream", "body")
	kind := own["type"]
	if len(s.answers) > 0 || len(bodies) != 1 || bodies[0].Text != hint || got.attr("from") != "post.example.com" || got.attr("to") != own["from"] ||
		e.Name != (xml.Name{Space: "jabber:component:accept", Local: "message"}) || own["to"] != "post.example.com" || kind != "" && kind != "chat" && kind != "normal" ||
		!strings.Contains(own["from"], "@example.com/") || strings.TrimSpace(bodyOf(e)) == "" {
		t.Fatalf("%v is answered with %+v", own, got)
	}
}
