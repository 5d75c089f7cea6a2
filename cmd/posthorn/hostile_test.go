package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// strange are stanzas that an ordinary account may send to the component. Each
// has ended the stream of some component, or pretends to be what it is not.
var strange = []string{
	`<presence to='post.example.com'><priority>200</priority></presence>`,
	`<presence to='post.example.com' type='subscribe'/>`,
	`<presence to='room@post.example.com/nick'><x xmlns='http://jabber.org/protocol/muc'><history since='2026-01-01T00:00:00+00:00'/></x></presence>`,
	`<presence to='me\40example.com@post.example.com/posthorn'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/><status code='201'/></x></presence>`,
	`<message to='post.example.com'><x xmlns='urn:x'><message xmlns='jabber:component:accept'/></x></message>`,
	`<message to='x@post.example.com' id='IN-FLIGHT' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
	`<message to='post.example.com' id='IN-FLIGHT' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
	`<message to='me\40example.com@post.example.com/posthorn' id='IN-FLIGHT' type='groupchat'><body>x</body></message>`,
	`<message to='post.example.com' xmlns:e='urn:e' e:from='admin@example.com' e:to='me@example.com' e:type='error' id='IN-FLIGHT'/>`,
	`<message to='post.example.com'><privilege xmlns='urn:xmpp:privilege:2'><perm access='message' type='outgoing'/></privilege></message>`,
	`<message to='post.example.com'><error xmlns='http://etherx.jabber.org/streams'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error></message>`,
	`<message to='post.example.com'><body>hello?</body><fallback xmlns='urn:xmpp:fallback:0'><body/></fallback></message>`,
	`<message to='post.example.com'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='admin@example.com'><body>x</body></message></forwarded></message>`,
	`<message to='post.example.com'><stanza-of-nobody xmlns='urn:x' a='&lt;/stream:stream&gt;'>&lt;/stream:stream&gt;]]&gt;</stanza-of-nobody></message>`,
	"<message to='post.example.com'><x xmlns='urn:x'><\u0221/></x></message>",
	`<message to='post.example.com'><body>` + strings.Repeat("&amp;", 30000) + `</body></message>`,
	`<message to='post.example.com'><body>` + strings.Repeat("'", 200000) + `</body></message>`,
	`<message to='post.example.com' xmlns:e='urn:` + strings.Repeat("e", 500) + `'>` + strings.Repeat("<x e:a=''/>", 5000) + `</message>`,
	`<iq to='post.example.com' type='get' id='i1'><query xmlns='http://jabber.org/protocol/disco#info'><set xmlns='http://jabber.org/protocol/rsm'><max>abc</max></set></query></iq>`,
	`<iq to='post.example.com' type='get' id='i2'><query xmlns='jabber:iq:version'><set xmlns='urn:foreign'/></query></iq>`,
	`<iq to='post.example.com' type='set' id='i3'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
	`<iq to='post.example.com' type='result' id='i4'/>`,
	`<iq to='post.example.com' type='get' id='i5'><a xmlns='urn:deep'>` + strings.Repeat("<a>", 11000) + strings.Repeat("</a>", 11000) + `</a></iq>`,
	`<iq to='post.example.com' type='get' id='i6'><ping xmlns='urn:xmpp:ping'>` + strings.Repeat("<a/>", 20000) + `</ping></iq>`,
	`<iq to='post.example.com' type='get' id='` + strings.Repeat("i", 100000) + `'><ping xmlns='urn:xmpp:ping'/></iq>`,
	`<iq to='post.example.com' type='get' id='&apos;/&gt;&lt;message to=&apos;user@example.com&apos;&gt;&lt;body&gt;forged&lt;/body&gt;&lt;/message&gt;'><ping xmlns='urn:xmpp:ping'/></iq>`,
}

// floods are stanzas that an account may send as fast as it likes.
var floods = []string{
	`<presence to='x@post.example.com'><status>flood</status></presence>`,
	`<iq type='get' to='post.example.com' id='q'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
	`<message to='x@post.example.com' id='IN-FLIGHT' type='error'><error type='cancel'/></message>`,
	// One of these may stand before the real to, which the server serialises in no order.
	`<message to='post.example.com' id='IN-FLIGHT' xmlns:a='urn:a' a:to='me@example.com' xmlns:b='urn:b' b:to='me@example.com' xmlns:c='urn:c' c:to='me@example.com' xmlns:e='urn:e' e:type='error'><error type='cancel'/></message>`,
}

// A stranger is an ordinary account that means no good.
type stranger struct {
	p      *xmpptest.Server
	client *xmpptest.Client
	logins int
}

// send puts raw on the stranger's stream and returns when the server has
// handled it. Where the server ends that stream for it, the stranger comes back.
func (s *stranger) send(t *testing.T, raw string) {
	t.Helper()
	if s.client == nil {
		s.client = s.p.MustLogin(t, "stranger@example.com", password)
		s.logins++
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := s.client.Send(raw)
	if err == nil {
		_, err = s.client.Query(ctx, "get", "", "<ping xmlns='urn:xmpp:ping'/>")
	}
	if ctx.Err() != nil {
		t.Fatalf("the server has not handled %.200q: %v", raw, err)
	}
	if err != nil {
		s.client = nil
	}
}

// A generator makes stanzas at random.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// stanza makes one to the component or to an address at it.
func (g generator) stanza() string {
	name := pick(g, "message", "presence", "iq")
	kinds := map[string][]string{
		"message":  {"", "chat", "normal", "groupchat", "headline", "error", "error", "shout"},
		"presence": {"", "unavailable", "subscribe", "subscribed", "unsubscribe", "probe", "error"},
		"iq":       {"get", "set", "result", "error"},
	}
	to := pick(g, "post.example.com", "post.example.com/x", "x@post.example.com", "x@post.example.com/y", `me\40example.com@post.example.com/posthorn`)
	var b strings.Builder
	fmt.Fprintf(&b, "<%s to='%s' id='%s'", name, to, pick(g, "IN-FLIGHT", "IN-FLIGHT", "", "&#xA;&#x9;", strings.Repeat("i", g.IntN(3000)), fmt.Sprint(g.Uint64())))
	if kind := pick(g, kinds[name]...); kind != "" {
		fmt.Fprintf(&b, " type='%s'", kind)
	}
	if g.IntN(3) == 0 {
		fmt.Fprintf(&b, " xmlns:e='urn:e' e:from='%[1]s' e:to='me@example.com' e:type='%[2]s' e:id='IN-FLIGHT'", pick(g, "admin@example.com", "user@example.com", "post.example.com"), pick(g, "error", "result"))
	}
	b.WriteByte('>')
	children := g.IntN(4)
	if name == "iq" {
		children = 1
	}
	for range children {
		b.WriteString(g.child(g.IntN(4)))
	}
	if g.IntN(50) == 0 { // what may end the stranger's own stream
		b.WriteString(pick(g, "<!-- -->", "<?x ?>", "<\u0221 xmlns='urn:u'/>", "<:/>", "&x;", "</x>"))
	}
	return b.String() + "</" + name + ">"
}

// child makes an element with others in it, down to depth.
func (g generator) child(depth int) string {
	if depth > 0 {
		name := pick(g, "x", "message", "iq", "presence", "forwarded", "error", "privilege", "body", "stream", "a.b-c·d", "名前", "_")
		space := pick(g, "urn:x", "jabber:client", "jabber:component:accept", "http://etherx.jabber.org/streams", "urn:xmpp:forward:0", "urn:xmpp:privilege:2", "urn:"+strings.Repeat("n", g.IntN(500)))
		attrs := pick(g, "", " from='admin@example.com' to='user@example.com'", " type='error' id='IN-FLIGHT'", " xml:lang='x'", " a='"+strings.Repeat("&quot;", g.IntN(1000))+"'")
		inside := ""
		for range 1 + g.IntN(3) {
			inside += g.child(depth - 1)
		}
		return fmt.Sprintf("<%s xmlns='%s'%s>%s</%[1]s>", name, space, attrs, inside)
	}
	n := g.IntN(300)
	return pick(g,
		"<body>"+strings.Repeat(pick(g, "x", "&lt;", "'", "\n", "]", "😀"), n)+"</body>",
		"<body><![CDATA["+strings.Repeat("<", n)+"]]></body>",
		"<error type='cancel'><"+pick(g, "gone", "item-not-found", "tea-time")+" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
		"<privilege xmlns='urn:xmpp:privilege:2'><perm access='message' type='outgoing'/></privilege>",
		"<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
		"<iq xmlns='jabber:component:accept' type='result' from='post.example.com' to='post.example.com'/>",
		"<origin-id xmlns='urn:xmpp:sid:0' id='IN-FLIGHT'/>",
		"<x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/><status code='"+pick(g, "201", "307")+"'/></x>",
		"<"+pick(g, "ping xmlns='urn:xmpp:ping'", "query xmlns='jabber:iq:version'", "query xmlns='http://jabber.org/protocol/disco#info'", "query xmlns='http://jabber.org/protocol/disco#items'", "vCard xmlns='vcard-temp'")+"/>",
		strings.Repeat("<d xmlns='urn:d'>", n)+strings.Repeat("</d>", n),
		strings.Repeat("<w xmlns='urn:w'/>", n),
	)
}

// knownID is a message whose id strangers know.
var knownID = sending{"/msg/user", "application/json", func(text string) string {
	client, _, _ := strings.Cut(text, "/")
	return fmt.Sprintf(`{"body":%q,"id":"in-flight-%s"}`, text, client[strings.IndexByte(client, ' ')+1:])
}, 1, []int{http.StatusCreated}, false}

// TestStrangers: whatever an account sends to the component, alone or in
// floods, the stream stays up, the messages that flow meanwhile are delivered,
// each once and from its sender, and posthorn does not grow. `make soak` does it
// with other stanzas each time.
func TestStrangers(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { strangers(t, p, 20261124, 200) })
}

func strangers(t *testing.T, p *xmpptest.Server, seed uint64, generated int) {
	t.Logf("seed %d", seed)
	const clients = 4
	p.Users(t, password, "stranger@example.com", "you@example.com")
	h := startPosthorn(t, p, "log: {level: debug}", "delivery: {confirm_timeout: 15s}\nlog: {level: info}").ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	tr := startTraffic(t, h, clients, 5*time.Millisecond, []string{"me@example.com", "you@example.com"}, knownID)
	tr.flows(t, 200)
	before := h.resident(t)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	s := &stranger{p: p}
	say := func(stanzas ...string) {
		s.send(t, inFlight.ReplaceAllStringFunc(strings.Join(stanzas, ""), func(string) string { return fmt.Sprint("in-flight-", g.IntN(clients)) }))
	}
	for _, stanza := range strange {
		if strings.Count(stanza, "<a>") <= h.expected.deepest {
			say(stanza)
		}
	}
	for range generated / 4 {
		say(g.stanza(), g.stanza(), g.stanza(), g.stanza())
	}
	for _, stanza := range floods {
		say(strings.Repeat(stanza, 1000))
	}
	tr.flows(t, 100)
	tr.finish()
	tr.compare(t, user)
	after := h.resident(t)
	if after > before+64<<20 { // several times the limit of one element, and the race detector's share
		t.Error("resident memory has grown")
	}
	t.Logf("resident memory was %d and is %d MiB; the server ended the stranger's stream %d times", before>>20, after>>20, s.logins-1)
	checkAnswers(t, p.MustLogin(t, "stranger@example.com", password))
	metrics := h.metrics(t)
	for _, reason := range h.expected.drops {
		if !strings.Contains(metrics, fmt.Sprintf("posthorn_component_dropped_elements_total{reason=%q}", reason)) {
			t.Errorf("nothing was dropped for its %s", reason)
		}
	}
	if !strings.Contains(metrics, "posthorn_component_reconnects_total 0") {
		t.Error("the stream was lost")
	}
	if log := h.log.String(); strings.Contains(log, "stream lost") {
		t.Errorf("the stream ended:\n%s", log)
	}
}

// checkAnswers: questions still get their answers.
func checkAnswers(t *testing.T, asker *xmpptest.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for payload, want := range map[string]string{
		`<ping xmlns='urn:xmpp:ping'/>`:                          "",
		`<query xmlns='jabber:iq:version'/>`:                     "<name>posthorn</name>",
		`<query xmlns='http://jabber.org/protocol/disco#info'/>`: "urn:xmpp:ping",
		`<query xmlns='urn:unknown'/>`:                           "service-unavailable",
	} {
		reply, err := asker.Query(ctx, "get", "post.example.com", payload)
		if err != nil || !strings.Contains(reply.Raw, want) || want == "" && reply.Type != "result" {
			t.Errorf("asked %s, got %s, %v", payload, reply.Raw, err)
		}
	}
}

var (
	inFlight     = regexp.MustCompile("IN-FLIGHT")
	residentLine = regexp.MustCompile(`(?m)^process_resident_memory_bytes (.*)$`)
)

// resident is posthorn's memory, in bytes.
func (h *posthorn) resident(t *testing.T) int64 {
	t.Helper()
	found := residentLine.FindStringSubmatch(h.metrics(t))
	if found == nil {
		t.Fatal("the metrics do not tell the resident memory")
	}
	bytes, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(bytes)
}
