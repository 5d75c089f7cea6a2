package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"posthorn/internal/xmpptest"
)

// A saying is a message with ?update=disk, from and to accounts that have the tests'
// password.
type saying struct {
	from, to, text string
	corrects       int    // which of those before it; -1: none
	key            string // its Idempotency-Key; "": none
}

// say sends it, and gives its id.
func (s saying) say(t *testing.T, h *posthorn, query string) (id string) {
	t.Helper()
	a := h.mustPost(t, "/msg/"+s.to+"?update=disk"+query, s.text, func(r *http.Request) {
		r.SetBasicAuth(s.from, password)
		if s.key != "" {
			r.Header.Set("Idempotency-Key", s.key)
		}
	})
	if a.status != http.StatusCreated && a.status != http.StatusAccepted {
		t.Fatalf("answer to %q is %d %s", s.text, a.status, a.raw)
	}
	return a.ID
}

// A conversation is what was said, in order.
type conversation struct {
	t     *testing.T
	h     *posthorn
	said  []saying
	ids   []string
	heard int // so many of them
}

func (c *conversation) say(sayings ...saying) {
	c.t.Helper()
	for _, s := range sayings {
		c.said = append(c.said, s)
		c.ids = append(c.ids, s.say(c.t, c.h, ""))
	}
}

// hear compares what is received with what was said since.
func (c *conversation) hear(clients map[string]*xmpptest.Client) {
	c.t.Helper()
	for ; c.heard < len(c.said); c.heard++ {
		s, id, original := c.said[c.heard], c.ids[c.heard], ""
		if s.corrects >= 0 {
			original = c.ids[s.corrects]
		}
		m := expect(c.t, clients[s.to], s.from+"@example.com", s.text)
		if m.ID != id || m.OriginID != id || m.Replace != original {
			c.t.Errorf("%q has the id %s, want %s, and corrects %q, want %q: %s", s.text, m.ID, id, m.Replace, original, m.Raw)
		}
	}
}

// TestUpdates: a message with a key corrects the one that its sender last sent anew to
// its recipient with that key, also after posthorn was killed and the server away.
func TestUpdates(t *testing.T) { onBoth(t, testUpdates) }

func testUpdates(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "other@example.com")
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	login := func() map[string]*xmpptest.Client {
		return map[string]*xmpptest.Client{"user": p.MustLogin(t, "user@example.com", password), "other": p.MustLogin(t, "other@example.com", password)}
	}
	c := &conversation{t: t, h: h}
	clients := login()
	c.say(
		saying{"me", "user", "firing", -1, ""},
		saying{"me", "user", "worse", 0, ""},
		saying{"me", "user", "resolved", 0, ""},
		saying{"me", "other", "to another", -1, ""},
		saying{"other", "user", "by another", -1, ""},
	)
	c.hear(clients)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	h.ready(t)
	c.say(saying{"me", "user", "after a kill", 0, ""}, saying{"other", "user", "by another again", 4, ""})
	c.hear(clients)

	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	c.say(
		saying{"me", "user", "while it was away", 0, ""},
		saying{"other", "other", "the first, while it was away", -1, ""},
		saying{"other", "other", "the second, while it was away", 8, ""},
	)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	h.drained(t)
	c.say(
		saying{"other", "other", "when it was back", 8, ""},
		saying{"user", "other", "once", -1, "k1"},
		saying{"user", "other", "once more", 11, "k2"},
	)
	for _, again := range []int{11, 12, 11} {
		if id := c.said[again].say(t, h, ""); id != c.ids[again] {
			t.Errorf("%q again has the id %s, want %s", c.said[again].text, id, c.ids[again])
		}
	}
	c.say(saying{"user", "other", "the last", 11, ""})
	c.hear(login())
}

// TestUpdatesByHook: an alert that fires is a new message, and its end takes the place
// of that.
func TestUpdatesByHook(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	fire := func(sample, query, begins, corrects string) (id string) {
		t.Helper()
		var file struct{ Payload json.RawMessage }
		text, err := os.ReadFile("../../internal/render/testdata/payloads/alertmanager/" + sample + ".json")
		if err = errors.Join(err, json.Unmarshal(text, &file)); err != nil {
			t.Fatal(err)
		}
		a := h.mustPost(t, "/hook/alertmanager/user"+query, string(file.Payload), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
		m := user.MustReceive(t)
		if a.status != http.StatusCreated || m.ID != a.ID || !strings.HasPrefix(m.Body, begins) || m.Replace != corrects {
			t.Errorf("answer is %d %s, received corrects %q, want %q: %s", a.status, a.raw, m.Replace, corrects, m.Raw)
		}
		return a.ID
	}
	first := fire("firing", "?update=1", "🔥", "")
	fire("resolved", "?update=1", "✅", first)
	second := fire("firing", "?update=1", "🔥", "")
	fire("resolved", "", "✅", "")
	fire("resolved", "?update=1", "✅", second)
}

// TestUpdatesInRoom: a correction comes from the same occupant as what it corrects,
// with the id that its sender was answered.
func TestUpdatesInRoom(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) {
		h := startPosthorn(t, p, withStore(t)...).ready(t)
		r := openRoom(t, p.MustLogin(t, "user@example.com", password), "ops", nil)
		said := func(from, text, corrects string) (id, occupant string) {
			t.Helper()
			id = saying{from: from, to: r.address(), text: text}.say(t, h, "&type=groupchat")
			nick, m := r.hears(t, text)
			if nick != from || m.ID != id || m.OriginID != id || m.Replace != corrects {
				t.Errorf("%q from %s has the id %q, want %q, and corrects %q, want %q: %s", text, nick, m.ID, id, m.Replace, corrects, m.Raw)
			}
			return id, m.From
		}
		first, occupant := said("me", "firing", "")
		if _, same := said("me", "resolved", first); same != occupant {
			t.Errorf("%s corrects what %s said", same, occupant)
		}
		said("user", "by another", "")
		said("me", "firing again", first)
	})
}
