package component

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// What Prosody 0.12 and ejabberd 23.01 say.
const (
	hostItems = `<query xmlns='http://jabber.org/protocol/disco#items'><item jid='rooms.example.com'/><item jid='upload.example.com'/><item jid='post.example.com'/></query>`

	uploadInfo = `<query xmlns='http://jabber.org/protocol/disco#info'><identity type='file' category='store' name='HTTP File Upload'/><feature var='urn:xmpp:http:upload:0'/>` +
		`<x xmlns='jabber:x:data' type='result'><field type='hidden' var='FORM_TYPE'><value>urn:xmpp:http:upload</value></field><field var='max-file-size'><value>7</value></field></x>` +
		`<x xmlns='jabber:x:data' type='result'><field type='hidden' var='FORM_TYPE'><value>urn:xmpp:http:upload:0</value></field><field var='max-file-size'><value>10485760</value></field></x></query>`

	otherInfo = `<query xmlns='http://jabber.org/protocol/disco#info'><feature var='http://jabber.org/protocol/muc'/></query>`

	slotGiven = `<slot xmlns='urn:xmpp:http:upload:0'><get url='https://upload.example.com:5281/file_share/1/x.png'/>` +
		`<put url='https://upload.example.com:5281/file_share/1/x.png'><header name='Authorization'>Bearer s3cret</header></put></slot>`
)

// services answer by whom is asked for what; "" does not answer.
type services struct {
	items, info, slot string
	stranger          bool // somebody else answers before each answer

	mu    sync.Mutex
	asked []string
}

func (s *services) server() *server { return &server{onInquiry: s.inquiry} }

func (s *services) inquiry(_ int, p *peer, e *stream.Element) {
	what := e.Children[0]
	s.mu.Lock()
	s.asked = append(s.asked, e.Attr("to")+" "+what.Name.Space[strings.LastIndexAny(what.Name.Space, ":#")+1:])
	s.mu.Unlock()
	answer := otherInfo
	switch {
	case what.Name.Space == nsDiscoItems:
		answer = s.items
	case what.Name.Space == nsUpload:
		answer = s.slot
	case e.Attr("to") == "upload.example.com":
		answer = s.info
	}
	if s.stranger {
		forge(p, e)
	}
	if answer == "" {
		return
	}
	kind := "result"
	if strings.HasPrefix(answer, "<error") {
		kind = "error"
	}
	p.say(`<iq type='%s' from='%s' to='%s' id='%s'>%s</iq>`, kind, e.Attr("to"), e.Attr("from"), e.Attr("id"), answer)
}

// forge says what is no answer to e, although it looks like one.
func forge(p *peer, e *stream.Element) {
	evil := strings.NewReplacer("upload.example.com", "evil.example.org", "10485760", "1").Replace(hostItems + uploadInfo + slotGiven)
	for _, forged := range []struct{ kind, from, to, id string }{
		{"result", "mallory@example.com/x", e.Attr("from"), e.Attr("id")},
		{"result", e.Attr("to") + ".example.org", e.Attr("from"), e.Attr("id")},
		{"result", "post.example.com", e.Attr("from"), e.Attr("id")},
		{"result", e.Attr("to"), "post.example.com", e.Attr("id")},
		{"result", e.Attr("to"), `them\40example.com@post.example.com/posthorn`, e.Attr("id")},
		{"result", e.Attr("to"), e.Attr("from"), "another"},
		{"set", e.Attr("to"), e.Attr("from"), e.Attr("id")},
		{"error", "evil.example.org", e.Attr("from"), e.Attr("id")},
	} {
		p.say(`<iq type='%s' from='%s' to='%s' id='%s'>%s</iq>`, forged.kind, forged.from, forged.to, forged.id, evil)
	}
}

// was compares what was asked since, in any order.
func (s *services) was(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(want)
	slices.Sort(s.asked)
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Errorf("something else was asked: %s", diff)
	}
	s.asked = nil
}

var (
	picture = message.File{Name: "x.png", Type: "image/png", Size: 1234}
	all     = []string{"example.com items", "example.com info", "rooms.example.com info", "upload.example.com info"}
)

func TestSlot(t *testing.T) {
	for name, stranger := range map[string]bool{"": false, "beside forged answers": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &services{items: hostItems, info: uploadInfo, slot: slotGiven, stranger: stranger}
				c := s.server().start(t)
				up(t, c)
				if limit, err := c.UploadLimit(t.Context(), "me@example.com"); limit != 10485760 || err != nil {
					t.Fatalf("%d, %v", limit, err)
				}
				time.Sleep(serviceLife / 2)
				slot, err := c.RequestSlot(t.Context(), "me@example.com", picture)
				if err != nil {
					t.Fatal(err)
				}
				const url = "https://upload.example.com:5281/file_share/1/x.png"
				if slot.Service != "upload.example.com" || slot.Put != url || slot.Get != url || len(slot.Header) != 1 || slot.Header["Authorization"][0].Reveal() != "Bearer s3cret" {
					t.Errorf("%+v", slot)
				}
				if shown := fmt.Sprintf("%+v %#v", slot, slot); strings.Contains(shown, "s3cret") {
					t.Errorf("shown as %s", shown)
				}
				s.was(t, append(all, "upload.example.com 0")...)
				time.Sleep(serviceLife)
				if _, err := c.RequestSlot(t.Context(), "you@example.com", picture); err != nil {
					t.Fatal(err)
				}
				s.was(t, append(all, "upload.example.com 0")...)
				if len(c.inquiries.pending) != 0 {
					t.Errorf("%d questions are still waited for", len(c.inquiries.pending))
				}
			})
		})
	}
}

// TestSlotRequest: what is written, whatever the names.
func TestSlotRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &services{items: hostItems, info: uploadInfo, slot: slotGiven}
		requests := make(chan *stream.Element, 1)
		server := &server{onInquiry: func(n int, p *peer, e *stream.Element) {
			if e.Child(nsUpload, "request") != nil {
				requests <- e
			}
			s.inquiry(n, p, e)
		}}
		c := server.start(t)
		up(t, c)
		if _, err := c.RequestSlot(t.Context(), "o'x@example.com", message.File{Name: `<&>'".png`, Type: "image/png", Size: 1}); err != nil {
			t.Fatal(err)
		}
		e := <-requests
		request := e.Child(nsUpload, "request")
		got := []string{e.Attr("type"), e.Attr("from"), e.Attr("to"), request.Attr("filename"), request.Attr("size"), request.Attr("content-type")}
		want := []string{"get", `o\27x\40example.com@post.example.com/posthorn`, "upload.example.com", `<&>'".png`, "1", "image/png"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSlotRefused: what the peer says, and what comes of it.
func TestSlotRefused(t *testing.T) {
	const (
		conditions = `<%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>%s</text>`
		tooLarge   = `<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><file-too-large xmlns='urn:xmpp:http:upload:0'>%s</file-too-large></error>`
		quota      = `<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>%s</error>`
	)
	refusal := func(condition, text string) string {
		return "<error type='cancel'>" + fmt.Sprintf(conditions, condition, text) + "</error>"
	}
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of the bubble's clock
	for _, test := range []struct {
		name   string
		change func(*services)
		file   message.File
		want   fault.Kind
		detail string
		wait   time.Duration
		asked  []string // nil: all, and for a slot; empty: whatever, since the first to answer is enough
	}{
		{"the host lists nothing", func(s *services) { s.items = `<query xmlns='http://jabber.org/protocol/disco#items'/>` }, picture, fault.Unavailable, `add Component "upload.example.com" "http_file_share"`, 0, []string{"example.com items", "example.com info"}},
		{"the host refuses to list", func(s *services) { s.items = refusal("forbidden", "") }, picture, fault.Unavailable, "mod_http_upload to ejabberd.yml", 0, []string{"example.com items", "example.com info"}},
		{"nodes and people are no services", func(s *services) {
			s.items = `<query xmlns='http://jabber.org/protocol/disco#items'><item jid='upload.example.com' node='x'/><item jid='me@example.com'/><item jid='UPLOAD.example.com'/><item/><x xmlns='urn:x' jid='upload.example.com'/></query>`
		}, picture, fault.Unavailable, "no upload service", 0, []string{"example.com items", "example.com info"}},
		{"nothing listed is a service", func(s *services) { s.info = otherInfo }, picture, fault.Unavailable, "no upload service", 0, all},
		{"a service of another version", func(s *services) {
			s.info = strings.ReplaceAll(uploadInfo, "<feature var='urn:xmpp:http:upload:0'/>", "<feature var='urn:xmpp:http:upload'/>")
		}, picture, fault.Unavailable, "no upload service", 0, all},
		{"the service refuses to say", func(s *services) { s.info = refusal("forbidden", "") }, picture, fault.Unavailable, "no upload service", 0, all},
		{"larger than it takes", nil, message.File{Name: "x", Type: "x/y", Size: 10485761}, fault.TooLarge, "larger than the 10485760 bytes", 0, []string{}},
		{"larger than it says then", func(s *services) { s.slot = fmt.Sprintf(tooLarge, "<max-file-size>1000</max-file-size>") }, picture, fault.TooLarge, "larger than the 1000 bytes", 0, nil},
		{"too large, it does not say for what", func(s *services) { s.slot = fmt.Sprintf(tooLarge, "") }, picture, fault.TooLarge, "too large", 0, nil},
		{"access", func(s *services) { s.slot = refusal("forbidden", "Access denied by\nservice policy") }, picture, fault.Forbidden, `(forbidden: Access denied by service policy): let it in, by "post.example.com" in http_file_share_access of Component "upload.example.com" in prosody.cfg.lua, or by {allow: {server: post.example.com}} in access of mod_http_upload`, 0, nil},
		{"not allowed", func(s *services) { s.slot = refusal("not-allowed", "") }, picture, fault.Forbidden, "let it in", 0, nil},
		{"a type that it does not take", func(s *services) { s.slot = refusal("not-acceptable", "File type not allowed") }, picture, fault.Unsendable, "does not take the file (not-acceptable: File type not allowed)", 0, nil},
		{"a name that it does not take", func(s *services) { s.slot = refusal("bad-request", "Invalid filename") }, picture, fault.Unsendable, "Invalid filename", 0, nil},
		{"quota", func(s *services) { s.slot = fmt.Sprintf(quota, "") }, picture, fault.Unavailable, "takes no more of you for now", time.Hour, nil},
		{"quota, until then", func(s *services) {
			s.slot = fmt.Sprintf(quota, "<retry xmlns='urn:xmpp:http:upload:0' stamp='2000-01-01T02:00:00.5Z'/>")
		}, picture, fault.Unavailable, "takes no more", 2*time.Hour + time.Second/2, nil},
		{"quota, for ever", func(s *services) {
			s.slot = fmt.Sprintf(quota, "<retry xmlns='urn:xmpp:http:upload:0' stamp='2999-01-01T02:00:00Z'/>")
		}, picture, fault.Unavailable, "takes no more", 24 * time.Hour, nil},
		{"quota, until yesterday", func(s *services) {
			s.slot = fmt.Sprintf(quota, "<retry xmlns='urn:xmpp:http:upload:0' stamp='1999-01-01T02:00:00Z'/>")
		}, picture, fault.Unavailable, "takes no more", time.Second, nil},
		{"quota, until no time", func(s *services) {
			s.slot = fmt.Sprintf(quota, "<retry xmlns='urn:xmpp:http:upload:0' stamp='soon'/>")
		}, picture, fault.Unavailable, "takes no more", time.Hour, nil},
		{"it fails", func(s *services) { s.slot = refusal("internal-server-error", "disk") }, picture, fault.Unavailable, "does not work (internal-server-error: disk)", 0, nil},
		{"an error without a condition", func(s *services) { s.slot = `<error/>` }, picture, fault.Unavailable, "does not work", 0, nil},
		{"no slot", func(s *services) { s.slot = otherInfo }, picture, fault.Unavailable, "cannot be used", 0, nil},
		{"a slot without an address", func(s *services) { s.slot = `<slot xmlns='urn:xmpp:http:upload:0'><get url='https://x'/></slot>` }, picture, fault.Unavailable, "cannot be used", 0, nil},
		{"a huge slot", func(s *services) {
			s.slot = strings.ReplaceAll(slotGiven, "s3cret", strings.Repeat("x", maxSlotHeader))
		}, picture, fault.Unavailable, "cannot be used", 0, nil},
		{"the host is silent", func(s *services) { s.items = "" }, picture, fault.Unavailable, "example.com did not answer in time", 0, []string{"example.com items"}},
		{"the service is silent", func(s *services) { s.info = "" }, picture, fault.Unavailable, "no upload service for example.com that answers", 0, all},
		{"the service is silent then", func(s *services) { s.slot = "" }, picture, fault.Unavailable, "upload.example.com did not answer in time", 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &services{items: hostItems, info: uploadInfo, slot: slotGiven}
				if test.change != nil {
					test.change(s)
				}
				c := s.server().start(t)
				up(t, c)
				_, err := c.RequestSlot(t.Context(), "me@example.com", test.file)
				f := fault.Of(err)
				if f.Kind != test.want || !strings.Contains(f.Public, test.detail) || strings.Contains(f.Public, "\n") {
					t.Fatalf("%v %q", f.Kind, f.Public)
				}
				if wait := test.wait - time.Since(began); test.wait > 0 && (f.Wait-wait).Abs() > time.Second && f.Wait != test.wait {
					t.Errorf("to wait for %v, want %v", f.Wait, test.wait)
				}
				if test.asked == nil {
					test.asked = append(slices.Clone(all), "upload.example.com 0")
				}
				if len(test.asked) > 0 {
					s.was(t, test.asked...)
				}
				if len(c.inquiries.pending) != 0 {
					t.Errorf("%d questions are still waited for", len(c.inquiries.pending))
				}
				if status, err := c.Deliver(t.Context(), text("user@example.com", "1")); status != message.Delivered {
					t.Errorf("%q, %v", status, err)
				}
			})
		})
	}
}

// TestSlotHeaders: XEP-0363 §4.
func TestSlotHeaders(t *testing.T) {
	e := openStream(t, `<iq type='result'><slot xmlns='urn:xmpp:http:upload:0'><get url='https://a/get'/><put url='https://a/put'>`+
		`<header name='authorization'>a&#10;b&#13;c</header><header name='COOKIE'>1=1</header><header name='Cookie&#10;'>2=2</header><header name='Expires'>e</header>`+
		`<header name='Host'>h</header><header name='X-Amz'>x</header><header>y</header><header xmlns='urn:x' name='Expires'>z</header></put></slot></iq>`)
	answer, err := e.Next()
	if err != nil {
		t.Fatal(err)
	}
	slot, ok := readSlot(answer)
	got := make(map[string][]string)
	for name, values := range slot.Header {
		for _, value := range values {
			got[name] = append(got[name], value.Reveal())
		}
	}
	want := map[string][]string{"Authorization": {"abc"}, "Cookie": {"1=1", "2=2"}, "Expires": {"e"}}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%v: %s", ok, diff)
	}
}

// TestSlotWithoutStream: there is nobody to ask, before, meanwhile, and then.
func TestSlotWithoutStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &services{items: hostItems, info: uploadInfo}
		var first *peer
		server := &server{onInquiry: func(n int, p *peer, e *stream.Element) {
			if n == 0 {
				first = p
			}
			s.inquiry(n, p, e)
		}}
		c := New(server.options(t))
		_, err := c.RequestSlot(t.Context(), "me@example.com", picture)
		wantKind(t, err, fault.Unavailable)

		c = server.start(t)
		up(t, c)
		failed := make(chan error)
		go func() {
			_, err := c.RequestSlot(t.Context(), "me@example.com", picture)
			failed <- err
		}()
		synctest.Wait()
		s.was(t, append(all, "upload.example.com 0")...)
		began := time.Now()
		_ = first.conn.Close()
		if err := <-failed; fault.Of(err).Kind != fault.Unavailable || time.Since(began) > time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		time.Sleep(time.Second)
		up(t, c)
		if limit, err := c.UploadLimit(t.Context(), "me@example.com"); limit != 10485760 || err != nil {
			t.Fatalf("%d, %v", limit, err)
		}
		s.was(t, all...) // a new stream, perhaps of a server with another configuration
	})
}

// TestSlotOfMute: no file goes up for a sender in whose name nothing can be sent.
func TestSlotOfMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &services{items: hostItems, info: uploadInfo, slot: slotGiven}
		server := s.server()
		server.checkFrom = true
		c := server.start(t)
		up(t, c)
		_, err := c.RequestSlot(t.Context(), "me@example.com", picture)
		wantKind(t, err, fault.Unavailable)
		s.was(t)
	})
}

// TestSlotGivenUp: who does not wait any more leaves nothing behind.
func TestSlotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &services{}
		c := s.server().start(t)
		up(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.RequestSlot(ctx, "me@example.com", picture)
		if wantKind(t, err, fault.Unavailable); len(c.inquiries.pending) != 0 {
			t.Errorf("%d questions are still waited for", len(c.inquiries.pending))
		}
	})
}

// TestManyInquiries: there is a bound, and messages pass beside it.
func TestManyInquiries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &services{} // which does not answer
		c := s.server().start(t)
		up(t, c)
		var asking sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for range maxInquiries + 10 {
			asking.Go(func() {
				_, err := c.UploadLimit(t.Context(), "me@example.com")
				mu.Lock()
				defer mu.Unlock()
				if strings.Contains(fault.Of(err).Public, "too much already") {
					refused++
				}
			})
		}
		synctest.Wait()
		if status, err := c.Deliver(t.Context(), text("user@example.com", "1")); status != message.Delivered {
			t.Errorf("%q, %v", status, err)
		}
		asking.Wait()
		if refused != 10 {
			t.Errorf("%d were refused, want 10", refused)
		}
	})
}

// TestInquiriesKeepAlive: a server that died is found although questions are written.
func TestInquiriesKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onInquiry: func(int, *peer, *stream.Element) {}}
		var dead atomic.Bool
		s.onBarrier = func(n int, _ *peer, _ *stream.Element) bool { return dead.Load() && n == 0 }
		c := s.start(t)
		up(t, c)
		dead.Store(true)
		for range 8 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, _ = c.UploadLimit(ctx, "me@example.com")
			cancel()
		}
		time.Sleep(time.Second)
		if s.dials() < 2 {
			t.Error("nobody has noticed that the server is dead")
		}
	})
}

// FuzzUpload: whatever a service says, what is taken of it is bounded and harmless.
func FuzzUpload(f *testing.F) {
	for _, payload := range []string{hostItems, uploadInfo, slotGiven, otherInfo,
		`<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><file-too-large xmlns='urn:xmpp:http:upload:0'><max-file-size>-1</max-file-size></file-too-large></error>`,
		`<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><retry xmlns='urn:xmpp:http:upload:0' stamp='0000-01-01T00:00:00Z'/></error>`,
		`<slot xmlns='urn:xmpp:http:upload:0'><put url='&#10;'><header name='Authorization&#13;&#10;X'>a&#10;b</header></put><get/></slot>`} {
		f.Add("result", payload)
		f.Add("error", payload)
	}
	opts := &Options{Domain: "post.example.com"}
	f.Fuzz(func(t *testing.T, kind, payload string) {
		answer, err := openStream(t, "<iq type='"+kind+"'>"+payload+"</iq>").Next()
		if err != nil {
			return
		}
		for _, item := range readItems(answer) {
			if domain, err := message.ParseDomain(item); err != nil || domain != item {
				t.Errorf("%q would be asked", item)
			}
		}
		if n := len(readItems(answer)); n > maxServices {
			t.Errorf("%d would be asked", n)
		}
		if limit, ok := readUploadInfo(answer); ok && limit <= 0 || limit < 0 {
			t.Errorf("the limit is %d", limit)
		}
		slot, ok := readSlot(answer)
		size := 0
		for name, values := range slot.Header {
			if !slices.Contains([]string{"Authorization", "Cookie", "Expires"}, name) {
				t.Errorf("the header %q would be sent", name)
			}
			for _, value := range values {
				size += len(value.Reveal())
				if strings.ContainsAny(value.Reveal(), "\r\n") {
					t.Errorf("%s would be sent as %q", name, value.Reveal())
				}
			}
		}
		if ok && (len(slot.Put) > maxSlotURL || len(slot.Get) > maxSlotURL || size > maxSlotHeader) {
			t.Error("a huge slot is taken")
		}
		refused := opts.slotRefused("upload.example.com", "example.com", answer)
		if len(refused.Public) > 1000 || strings.ContainsAny(refused.Public, "\r\n") || refused.Wait < 0 || refused.Wait > longestQuota {
			t.Errorf("refused with %q, to wait for %v", refused.Public, refused.Wait)
		}
	})
}

// TestNoLimit: a service need not tell its limit.
func TestNoLimit(t *testing.T) {
	for _, said := range []string{"", "0", "-5", "1e6", "99999999999999999999", " 10 "} {
		want := int64(math.MaxInt64)
		if said == " 10 " {
			want = 10
		}
		answer, err := openStream(t, "<iq type='result'>"+strings.ReplaceAll(uploadInfo, "10485760", said)+"</iq>").Next()
		if err != nil {
			t.Fatal(err)
		}
		if limit, ok := readUploadInfo(answer); limit != want || !ok {
			t.Errorf("%q is %d, %v", said, limit, ok)
		}
	}
}
