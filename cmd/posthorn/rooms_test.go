package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

const rooms = "rooms.example.com"

// A room is one that an occupant of a real client has made and sits in.
type room struct {
	name  string // without the domain
	owner *xmpptest.Client
}

// openRoom makes a room with that configuration (XEP-0045 §10.1.3: fields of
// muc#roomconfig).
func openRoom(t testing.TB, owner *xmpptest.Client, name string, config map[string]string) room {
	t.Helper()
	r := room{name, owner}
	r.enter(t, owner, "owner")
	form := `<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>`
	for name, value := range config {
		form += fmt.Sprintf(`<field var='%s'><value>%s</value></field>`, name, value)
	}
	r.ask(t, form+`</x></query>`)
	return r
}

func (r room) address() string { return r.name + "@" + rooms }

// enter joins and waits for the room's word that the occupant is in.
func (r room) enter(t testing.TB, c *xmpptest.Client, nick string) {
	t.Helper()
	c.MustSend(t, fmt.Sprintf(`<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>`, r.address(), nick))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		m, err := c.ReceiveOther(ctx)
		if err != nil {
			t.Fatalf("enter %s: %v", r.name, err)
		}
		if m.Type == "error" || strings.Contains(m.Raw, `'110'`) || strings.Contains(m.Raw, `"110"`) {
			return
		}
	}
}

// ask sends an IQ of type set to the room as its owner.
func (r room) ask(t testing.TB, payload string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if answer, err := r.owner.Query(ctx, "set", r.address(), payload); err != nil || answer.Type != "result" {
		t.Fatalf("%s: %v: %s", payload, err, answer.Raw)
	}
}

// admin changes an occupant's role or an address's affiliation (XEP-0045 §8, §9).
func (r room) admin(t testing.TB, item string) {
	t.Helper()
	r.ask(t, `<query xmlns='http://jabber.org/protocol/muc#admin'><item `+item+`/></query>`)
}

// hears waits for that text in the room, and gives the nickname that said it.
func (r room) hears(t testing.TB, text string) (nick string, m xmpptest.Message) {
	t.Helper()
	for {
		m := r.owner.MustReceive(t)
		if m.Type != "groupchat" || m.Body == "" { // the subject
			continue
		}
		if m.Body != text {
			t.Fatalf("the room heard %q, want %q", m.Body, text)
		}
		_, nick, _ = strings.Cut(m.From, "/")
		return nick, m
	}
}

const occupant = `me\40example.com@post.example.com`

// TestRooms: what becomes of a message to a room is the room's own word.
func TestRooms(t *testing.T) { onBoth(t, testRooms) }

func testRooms(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "owner@example.com", "other@example.com")
	h := startPosthorn(t, p, "component:\n", "component:\n  room_idle: 2s\n").ready(t)
	post := func(t *testing.T, r room, text, query string) answer {
		t.Helper()
		return h.mustPost(t, "/msg/"+r.address()+"?type=groupchat"+query, text, nil)
	}
	open := func(t *testing.T, config map[string]string) room {
		name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
		return openRoom(t, p.MustLogin(t, "owner@example.com", password), name, config)
	}
	said := func(t *testing.T, r room, text, query, wantNick string) {
		t.Helper()
		a := post(t, r, text, query)
		if a.status != http.StatusCreated || a.Status != "delivered" {
			t.Fatalf("answer is %d %s", a.status, a.raw)
		}
		if nick, m := r.hears(t, text); nick != wantNick || m.ID != a.ID || m.OriginID != a.ID {
			t.Fatalf("%q said it, want %q; answered the id %s: %s", nick, wantNick, a.ID, m.Raw)
		}
	}
	refused := func(t *testing.T, r room, query string, status int, detail string) {
		t.Helper()
		if a := post(t, r, "not to be heard", query); a.status != status || !strings.Contains(a.Detail, detail) {
			t.Fatalf("answer is %d %s, want %d with %q", a.status, a.raw, status, detail)
		}
	}

	t.Run("joins by itself", func(t *testing.T) {
		r := open(t, nil)
		said(t, r, "first", "", "me")
		said(t, r, "second", "", "me")
		said(t, r, "under another name", "&nick=Backup", "Backup (me)")
		said(t, r, "the same name", "&nick=Backup", "Backup (me)")
		said(t, r, "back", "", "me")
	})
	t.Run("leaves when idle", func(t *testing.T) {
		r := open(t, nil)
		said(t, r, "first", "", "me")
		xmpptest.Wait(t, 20*time.Second, "it has left", func() bool { return strings.Contains(h.metrics(t), "posthorn_component_room_seats 0") })
		said(t, r, "after a while", "", "me")
	})
	t.Run("nickname taken", func(t *testing.T) {
		r := open(t, nil)
		r.enter(t, p.MustLogin(t, "other@example.com", password), "me")
		said(t, r, "first", "", "me_2")
		r.enter(t, p.MustLogin(t, "other@example.com", password), "Bot (me)")
		said(t, r, "another name", "&nick=Bot", "Bot (me)_2")
	})
	t.Run("kicked", func(t *testing.T) {
		r := open(t, nil)
		said(t, r, "first", "", "me")
		r.admin(t, `nick='me' role='none'`)
		said(t, r, "back again", "", "me")
	})
	t.Run("banned", func(t *testing.T) {
		r := open(t, nil)
		said(t, r, "first", "", "me")
		r.admin(t, `jid='`+occupant+`' affiliation='outcast'`)
		refused(t, r, "", http.StatusForbidden, occupant)
		// Who is no longer banned and nothing else is a visitor to ejabberd, even
		// in a room where everybody may speak (23.01, 2026-11).
		r.admin(t, `jid='`+occupant+`' affiliation='member'`)
		said(t, r, "lifted", "", "me")
	})
	t.Run("domain banned", func(t *testing.T) {
		r := open(t, nil)
		r.admin(t, `jid='post.example.com' affiliation='outcast'`)
		refused(t, r, "", http.StatusForbidden, "banned")
	})
	t.Run("destroyed", func(t *testing.T) {
		r := open(t, nil)
		said(t, r, "first", "", "me")
		r.ask(t, `<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>`)
		refused(t, r, "", http.StatusNotFound, r.address())
	})
	t.Run("members only", func(t *testing.T) {
		r := open(t, map[string]string{"muc#roomconfig_membersonly": "1"})
		refused(t, r, "", http.StatusForbidden, "its owner has to add "+occupant)
		r.admin(t, `jid='`+occupant+`' affiliation='member'`)
		said(t, r, "as a member", "", "me")
	})
	t.Run("password", func(t *testing.T) {
		r := open(t, map[string]string{"muc#roomconfig_passwordprotectedroom": "1", "muc#roomconfig_roomsecret": "sesame"})
		refused(t, r, "", http.StatusForbidden, "password")
		refused(t, r, "&password=wrong", http.StatusForbidden, "password")
		said(t, r, "opened", "&password=sesame", "me")
		said(t, r, "inside already", "", "me")
	})
	t.Run("no voice", func(t *testing.T) {
		r := open(t, map[string]string{"muc#roomconfig_moderatedroom": "1"})
		r.admin(t, `jid='`+occupant+`' affiliation='member'`)
		said(t, r, "with voice", "", "me")
		r.admin(t, `nick='me' role='visitor'`)
		refused(t, r, "", http.StatusForbidden, "voice")
	})
	t.Run("not there", func(t *testing.T) {
		r := room{name: "nowhere"}
		refused(t, r, "", http.StatusNotFound, r.address())
		r.owner = p.MustLogin(t, "owner@example.com", password)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		list, err := r.owner.Query(ctx, "get", rooms, `<query xmlns='http://jabber.org/protocol/disco#items'/>`)
		if err != nil || strings.Contains(list.Raw, r.name) {
			t.Fatalf("%v: the room was created: %s", err, list.Raw)
		}
	})
	t.Run("no rooms there", func(t *testing.T) {
		if a := h.mustPost(t, "/msg/user@example.com?type=groupchat", "x", nil); a.status < 400 || a.status >= 500 {
			t.Fatalf("answer is %d %s", a.status, a.raw)
		}
	})
	t.Run("two senders", func(t *testing.T) {
		r := open(t, nil)
		for _, sender := range []string{"me", "user"} {
			a := h.mustPost(t, "/msg/"+r.address()+"?type=groupchat", "from "+sender, func(q *http.Request) { q.SetBasicAuth(sender, password) })
			if a.status != http.StatusCreated {
				t.Fatalf("answer is %d %s", a.status, a.raw)
			}
			if nick, _ := r.hears(t, "from "+sender); nick != sender {
				t.Fatalf("said by %q, want %q", nick, sender)
			}
		}
	})
	t.Run("many at once", func(t *testing.T) {
		r := open(t, nil)
		var wait sync.WaitGroup
		for i := range 50 {
			wait.Go(func() {
				if a, err := h.post("/msg/"+r.address()+"?type=groupchat", fmt.Sprint(i), nil); err != nil || a.status != http.StatusCreated {
					t.Errorf("answer is %d %s, %v", a.status, a.raw, err)
				}
			})
		}
		wait.Wait()
		heard := make(map[string]int)
		for len(heard) < 50 {
			if m := r.owner.MustReceive(t); m.Type == "groupchat" && m.Body != "" {
				if heard[m.Body]++; heard[m.Body] > 1 {
					t.Fatalf("%s was heard twice", m.Body)
				}
			}
		}
	})
}

// TestRoomsOutliveRestarts: a seat that the server or posthorn has lost is taken
// again by the next message.
func TestRoomsOutliveRestarts(t *testing.T) { onBoth(t, testRoomsOutliveRestarts) }

func testRoomsOutliveRestarts(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "owner@example.com")
	h := startPosthorn(t, p).ready(t)
	r := openRoom(t, p.MustLogin(t, "owner@example.com", password), "lasting", map[string]string{"muc#roomconfig_persistentroom": "1"})
	path := "/msg/" + r.address() + "?type=groupchat"
	say := func(h *posthorn, text string) {
		t.Helper()
		if a := h.mustPost(t, path, text, nil); a.status != http.StatusCreated {
			t.Fatalf("%s: %d %s", text, a.status, a.raw)
		}
		if nick, _ := r.hears(t, text); nick != "me" {
			t.Fatalf("%s was said by %q", text, nick)
		}
	}
	say(h, "before")
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	second := startPosthorn(t, p).ready(t)
	say(second, "by a posthorn that knows nothing of the seat")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	second.ready(t)
	r.owner = p.MustLogin(t, "owner@example.com", password)
	r.enter(t, r.owner, "owner")
	xmpptest.Wait(t, 20*time.Second, "the stream is back", func() bool { return second.status("/readyz") == http.StatusOK })
	say(second, "after the server's restart")
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		m, err := r.owner.ReceiveOther(ctx)
		if err != nil {
			t.Fatalf("a posthorn that stops does not leave its rooms: %v", err)
		}
		if m.Type == "unavailable" && m.From == r.address()+"/me" {
			break
		}
	}
}

// TestManyRooms: one sender in many rooms at once. `make soak` has a thousand.
func TestManyRooms(t *testing.T) { manyRooms(t, 100) }

func manyRooms(t *testing.T, n int) {
	p := prosodyWithUsers(t, xmpptest.Options{Extra: fmt.Sprintf("Component %q \"muc\"\n\tmuc_room_locking = false", rooms)})
	p.Users(t, password, "owner@example.com")
	// Prosody takes some 8 ms of its processor a message to a room, where an
	// occupant sits in a thousand (0.12, 2026-11).
	h := startPosthorn(t, p, "log: {level: debug}", "log: {level: info}\ndelivery: {confirm_timeout: 15s}").ready(t)
	owner := p.MustLogin(t, "owner@example.com", password)
	for i := range n {
		room{fmt.Sprint("room", i), owner}.enter(t, owner, "owner")
	}
	for round := range 2 { // with the joins, and without
		var wait sync.WaitGroup
		next := make(chan int)
		for range 32 {
			wait.Go(func() {
				for i := range next {
					a, err := h.post(fmt.Sprintf("/msg/room%d@%s?type=groupchat", i, rooms), fmt.Sprintf("%d/%d", round, i), nil)
					if err != nil || a.Status != "delivered" {
						t.Errorf("room %d: %d %s, %v", i, a.status, a.raw, err)
					}
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		wait.Wait()
		heard := make(map[string]bool)
		for len(heard) < n {
			if m := owner.MustReceive(t); m.Type == "groupchat" && m.Body != "" {
				if name, _, _ := strings.Cut(m.From, "@"); m.Body != fmt.Sprintf("%d/%s", round, strings.TrimPrefix(name, "room")) || heard[m.Body] {
					t.Fatalf("%s heard %q", name, m.Body)
				}
				heard[m.Body] = true
			}
		}
	}
	if want := fmt.Sprintf("posthorn_component_room_seats %d\n", n); !strings.Contains(h.metrics(t), want) {
		t.Errorf("no %s", want)
	}
}
