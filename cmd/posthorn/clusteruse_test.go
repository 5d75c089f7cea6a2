package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/xmpptest"
)

// withServices gives the server rooms, and an upload service for small files.
func withServices(o *xmpptest.Options) {
	o.Extra = fmt.Sprintf("Component %q \"muc\"\nComponent \"away.example.com\"\n\tcomponent_secret = \"x\"", rooms)
	o.Uploads, o.UploadOptions = true, "http_file_share_size_limit = 10000"
	lines := o.Component[0]
	o.Component = []xmpptest.Edit{func(single string) (string, error) {
		const advice = "\n\n-- Attachments go to"
		_, rest, _ := strings.Cut(single, advice)
		text, err := lines(single)
		return text + advice + rest, err
	}}
}

// TestClusterUse: whatever somebody does at one instance is as it would be with one
// posthorn, and is known at the other.
func TestClusterUse(t *testing.T) {
	c := startCluster(t, withServices)
	c.server.Users(t, password, "owner@example.com")
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"answers", c.answersByStandby},
		{"files", c.takesFiles},
		{"updates", c.correctsElsewhere},
		{"webhooks", c.takesHooks},
		{"keys of several", c.repeatsElsewhere},
		{"tokens", c.tokensElsewhere},
		{"state", c.tellsTheSame},
		{"rooms", c.speaksInRooms},
		{"commands", c.commandsBeside},
	} {
		if !t.Run(part.name, part.test) {
			break // the others may need what this one has left
		}
		c.ready(t)
	}
}

// unlike is what differs between two answers to the same request.
var unlike = regexp.MustCompile(`"id":"[^"]*"|[A-Z2-7]{26}`)

// essence is an answer as far as it is the same for everybody.
func essence(a answer) string {
	header := ""
	for _, name := range []string{"Content-Type", "Retry-After", "Allow", "WWW-Authenticate"} {
		header += name + ": " + a.header.Get(name) + "\n"
	}
	return fmt.Sprintf("%d\n%s%s", a.status, header, unlike.ReplaceAllString(a.raw, ""))
}

// answersByStandby: what is refused, and why, is told in the same words by an instance
// that has not spoken to the server.
func (c *cluster) answersByStandby(t *testing.T) {
	holder, other := c.roles(t)
	owner := c.server.MustLogin(t, "owner@example.com", password)
	banned := openRoom(t, owner, "banned", nil)
	banned.admin(t, `jid='`+occupant+`' affiliation='outcast'`)
	locked := openRoom(t, owner, "locked", map[string]string{"muc#roomconfig_passwordprotectedroom": "1", "muc#roomconfig_roomsecret": "sesame"})
	for path, status := range map[string]int{
		"/msg/you":                                           http.StatusCreated,
		"/msg/you?type=headline":                             http.StatusCreated,
		"/msg/you@example.com/phone":                         http.StatusCreated,
		"/msg/ghost":                                         http.StatusNotFound,
		"/msg/you,ghost":                                     http.StatusMultiStatus,
		"/msg/you@elsewhere.example":                         http.StatusCreated,
		"/msg/you@away.example.com":                          http.StatusAccepted,
		"/msg/you,you@away.example.com":                      http.StatusAccepted,
		"/msg/nowhere@" + rooms:                              http.StatusNotFound,
		"/msg/you@example.com?type=chat":                     http.StatusCreated,
		"/msg/nowhere@" + rooms + "?type=groupchat":          http.StatusNotFound,
		"/msg/you@example.com?type=groupchat":                http.StatusNotFound,
		"/msg/" + banned.address() + "?type=groupchat":       http.StatusForbidden,
		"/msg/" + locked.address() + "?type=groupchat":       http.StatusForbidden,
		"/msg/" + locked.address() + ",you?type=groupchat":   http.StatusUnprocessableEntity,
		"/msg/you?html=" + strings.Repeat("%26amp%3B", 6000): http.StatusCreated,
	} {
		for _, key := range []string{"", "k"} {
			var got []string
			for _, h := range []*instance{holder, other} {
				a := h.mustPost(t, path, "hello", func(r *http.Request) {
					if key != "" {
						r.Header.Set("Idempotency-Key", path[:min(len(path), 60)]+h.name)
					}
				})
				if a.status != status {
					t.Errorf("%.60s by the %s: %d %s, want %d", path, map[bool]string{true: "holder", false: "standby"}[h == holder], a.status, a.raw, status)
				}
				got = append(got, essence(a))
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("%.60s (-holder +standby):\n%s", path, diff)
			}
		}
	}
}

// takesFiles: what is downloaded is what was sent, by whichever it was; what is refused
// is refused alike.
func (c *cluster) takesFiles(t *testing.T) {
	holder, other := c.roles(t)
	user := c.server.MustLogin(t, "user@example.com", password)
	for name, h := range c.ways() {
		content := []byte("\x89PNG\r\n\x1a\n" + strings.Repeat(name, 1000))
		a := h.mustPost(t, "/msg/user?attach=1", string(content), func(r *http.Request) { r.Header.Set("Content-Type", "image/png") })
		if a.status != http.StatusCreated || a.Status != "delivered" {
			t.Fatalf("by %s: %d %s", name, a.status, a.raw)
		}
		if got, _ := download(t, c.server, user.MustReceive(t).OOB); !bytes.Equal(got, content) {
			t.Errorf("by %s: %d bytes came, other than the %d that were sent", name, len(got), len(content))
		}
	}
	for path, status := range map[string]int{
		"/msg/user?attach=1": http.StatusRequestEntityTooLarge,
		"/msg/nowhere@" + rooms + "?attach=1&type=groupchat": http.StatusRequestEntityTooLarge,
		"/msg/ghost?attach=1":                                http.StatusRequestEntityTooLarge,
	} {
		c.alike(t, holder, other, path, strings.Repeat("x", 20000), status)
	}
	c.alike(t, holder, other, "/msg/ghost?attach=1", "\x89PNG\r\n\x1a\n", http.StatusNotFound)
}

// alike posts a picture to both.
func (c *cluster) alike(t *testing.T, holder, other *instance, path, content string, status int) {
	t.Helper()
	var got []string
	for _, h := range []*instance{holder, other} {
		a := h.mustPost(t, path, content, func(r *http.Request) { r.Header.Set("Content-Type", "image/png") })
		if got = append(got, essence(a)); a.status != status {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.raw, status)
		}
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("%s (-holder +standby):\n%s", path, diff)
	}
}

// correctsElsewhere: what one has sent the other corrects, at once and whatever has come
// between.
func (c *cluster) correctsElsewhere(t *testing.T) {
	one, two := c.instances[0].posthorn, c.instances[1].posthorn
	user := c.server.MustLogin(t, "user@example.com", password)
	r := openRoom(t, c.server.MustLogin(t, "owner@example.com", password), "corrected", nil)
	for _, first := range []*posthorn{one, two} {
		for _, to := range []string{"user", r.address()} {
			query, key := "", "disk of "+first.URL+to
			if to != "user" {
				query = "&type=groupchat"
			}
			var original, occupant string
			for n, h := range []*posthorn{first, one, two, one} {
				a := h.mustPost(t, "/msg/"+to+"?update="+strings.ReplaceAll(key, " ", "+")+query, fmt.Sprint(n), nil)
				if a.status != http.StatusCreated {
					t.Fatalf("answer is %d %s", a.status, a.raw)
				}
				var m xmpptest.Message
				if to == "user" {
					m = expect(t, user, "me@example.com", fmt.Sprint(n))
				} else {
					_, m = r.hears(t, fmt.Sprint(n))
				}
				if m.ID != a.ID || m.Replace != original || n > 0 && m.From != occupant {
					t.Errorf("number %d has the id %q, want %q, and corrects %q, want %q: %s", n, m.ID, a.ID, m.Replace, original, m.Raw)
				}
				if n == 0 {
					original, occupant = a.ID, m.From
				}
			}
		}
	}
}

// takesHooks: an alert that fires at one is resolved at the other, and clients of other
// services get the answers that they know.
func (c *cluster) takesHooks(t *testing.T) {
	_, other := c.roles(t)
	user := c.server.MustLogin(t, "user@example.com", password)
	asJSON := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
	first := ""
	for n, h := range []*posthorn{c.instances[0].posthorn, c.instances[1].posthorn, c.front} {
		sample := []string{"firing", "resolved", "resolved"}[n]
		a := h.mustPost(t, "/hook/alertmanager/user?update=1", payloadOf(t, "alertmanager", sample), asJSON)
		m := user.MustReceive(t)
		if a.status != http.StatusCreated || m.ID != a.ID || m.Replace != first {
			t.Errorf("%s: %d %s corrects %q, want %q", sample, a.status, a.raw, m.Replace, first)
		}
		if n == 0 {
			first = a.ID
		}
	}
	for _, test := range []struct{ path, body, want string }{
		{"/hook/slack/user", `{"text":"slack"}`, `^ok$`},
		{"/hook/slack/ghost", `{"text":"slack"}`, `"code":"undeliverable"`},
		{"/hook/ntfy/user", `{"topic":"user","message":"ntfy"}`, `"event":"message"`},
		{"/hook/gotify/user/message", `{"message":"gotify"}`, `"appid":1`},
	} {
		response, err := http.DefaultClient.Do(newRequest(t, other.URL+test.path, test.body))
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		_, _ = said.ReadFrom(response.Body)
		_ = response.Body.Close()
		if !regexp.MustCompile(test.want).MatchString(said.String()) {
			t.Errorf("%s: %d %s", test.path, response.StatusCode, said.String())
		}
	}
	for _, want := range []string{"slack", "ntfy", "gotify"} {
		if m := user.MustReceive(t); !strings.Contains(m.Body, want) {
			t.Errorf("received %s", m.Raw)
		}
	}
}

func payloadOf(t *testing.T, tool, sample string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../internal/render/testdata/payloads", tool, sample+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Payload json.RawMessage }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return string(file.Payload)
}

func newRequest(t *testing.T, address, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, address, strings.NewReader(body)).WithContext(t.Context())
	r.RequestURI = ""
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("me@example.com", password)
	return r
}

// repeatsElsewhere: of a request to several that is repeated at another, at once or later,
// only what was not sent goes again. Of several messages with one id at once some may be
// refused, and each that is not comes once.
func (c *cluster) repeatsElsewhere(t *testing.T) {
	user := c.server.MustLogin(t, "user@example.com", password)
	keyed := func(h *posthorn, to, key string) answer {
		a, err := h.post("/msg/"+to, "to several, "+key, func(r *http.Request) { r.Header.Set("Idempotency-Key", key) })
		if err != nil {
			t.Error(err)
		}
		return a
	}
	for key, to := range map[string]string{"refused": "user,ghost", "retried": "user,you@away.example.com"} {
		var all []string
		for _, h := range []*posthorn{c.instances[0].posthorn, c.instances[1].posthorn, c.front, c.instances[0].posthorn} {
			a := keyed(h, to, key)
			if all = append(all, essence(a)); a.status != map[string]int{"refused": http.StatusMultiStatus, "retried": http.StatusAccepted}[key] || all[0] != all[len(all)-1] {
				t.Errorf("%s by %s: %d %s, want\n%s", to, h.URL, a.status, a.raw, all[0])
			}
		}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	ids, ways := map[string]int{}, slices.Collect(maps.Values(c.ways()))
	for n := range 30 {
		wait.Go(func() {
			a := keyed(ways[n%len(ways)], "user,you", fmt.Sprint("at-once-", n/6))
			mu.Lock()
			defer mu.Unlock()
			if ids[a.ID]++; a.status != http.StatusCreated {
				t.Errorf("answer is %d %s", a.status, a.raw)
			}
		})
	}
	wait.Wait()
	if len(ids) != 5 {
		t.Errorf("five keys have led to %d ids: %v", len(ids), ids)
	}
	sameID := map[int]int{} // by status
	for n := range 30 {
		wait.Go(func() {
			a, err := ways[n%len(ways)].post("/msg/user?id=the+same", "of the same id", nil)
			mu.Lock()
			defer mu.Unlock()
			if sameID[a.status]++; err != nil || a.status != http.StatusCreated && a.status != http.StatusConflict {
				t.Errorf("answer is %d %s, %v", a.status, a.raw, err)
			}
		})
	}
	wait.Wait()
	c.front.mustPost(t, "/msg/user", "after all keys", nil)
	got := map[string]int{}
	for m := user.MustReceive(t); m.Body != "after all keys"; m = user.MustReceive(t) {
		got[m.Body]++
	}
	want := map[string]int{"to several, refused": 1, "to several, retried": 1, "of the same id": sameID[http.StatusCreated]}
	for n := range 5 {
		want[fmt.Sprint("to several, at-once-", n)] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// tokensElsewhere: however a token was made, it is good at each instance from then on,
// and at none once it was revoked, however that was.
func (c *cluster) tokensElsewhere(t *testing.T) {
	one, two := c.instances[0].posthorn, c.instances[1].posthorn
	me := c.server.MustLogin(t, "me@example.com/phone", password)
	asJSON := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
	use := func(text string, want int, headers ...string) {
		t.Helper()
		for name, h := range c.ways() {
			a := h.mustPost(t, "/hook/json/you", `{"message":"by a token"}`, func(r *http.Request) {
				asJSON(r)
				r.Header.Set("Authorization", "Bearer "+text)
				for i := 0; i+1 < len(headers); i += 2 {
					r.Header.Set(headers[i], headers[i+1])
				}
			})
			if a.status != want {
				t.Errorf("by %s: %d %s, want %d", name, a.status, a.raw, want)
			}
		}
	}
	form := give(t, me, "token-create", "")
	reply := give(t, me, "token-create", form.Command.Session, "name=by client")
	byClient := reply.field("token")
	byAdministrator := strings.TrimSpace(beside(t, c.instances[1], exitOK, "token", "create", "--for", "me@example.com", "--name", "by administrator"))
	var made struct{ Token string }
	a := two.mustPost(t, "/tokens", `{"name":"signed","signing_secret":"a shared secret"}`, asJSON)
	if err := json.Unmarshal([]byte(a.raw), &made); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%v: %d %s", err, a.status, a.raw)
	}
	for _, text := range []string{byClient, byAdministrator} {
		use(text, http.StatusCreated)
	}
	use(made.Token, http.StatusForbidden)
	use(made.Token, http.StatusCreated, "X-Gitlab-Token", "a shared secret")

	if form = give(t, me, "token-revoke", ""); len(form.Command.Form.Fields) != 1 || fmt.Sprint(form.Command.Form.Fields[0].Options) != "[by administrator by client signed]" {
		t.Errorf("the form to revoke is %+v", form)
	}
	give(t, me, "token-revoke", form.Command.Session, "tokens=by administrator")
	use(byAdministrator, http.StatusUnauthorized)
	if a, err := one.post("/tokens/signed", "", func(r *http.Request) { r.Method = http.MethodDelete }); a.status != http.StatusNoContent {
		t.Errorf("%d %s, %v", a.status, a.raw, err)
	}
	use(made.Token, http.StatusUnauthorized, "X-Gitlab-Token", "a shared secret")
	beside(t, c.instances[0], exitOK, "token", "revoke", "--jid", "me@example.com", "--name", "by client")
	use(byClient, http.StatusUnauthorized)

	a = one.mustPost(t, "/tokens", `{"name":"slow","rate":0.1}`, asJSON)
	if err := json.Unmarshal([]byte(a.raw), &made); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%v: %d %s", err, a.status, a.raw)
	}
	for _, i := range c.instances { // each counts by itself
		for _, want := range []int{http.StatusCreated, http.StatusTooManyRequests} {
			if a := i.mustPost(t, "/msg/you", "at its rate", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+made.Token) }); a.status != want {
				t.Errorf("by %s: %d %s, want %d", i.name, a.status, a.raw, want)
			}
		}
	}

	statuses := make([]int, 10) // of one name, at both at once
	var wait sync.WaitGroup
	for n := range statuses {
		wait.Go(func() {
			a, err := c.instances[n%2].post("/tokens", `{"name":"one name"}`, asJSON)
			if statuses[n] = a.status; err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	slices.Sort(statuses)
	if want := append([]int{http.StatusCreated}, slices.Repeat([]int{http.StatusConflict}, 9)...); !slices.Equal(statuses, want) {
		t.Errorf("ten tokens of one name: %v", statuses)
	}
}

// beside runs a command with an instance's configuration, and gives what it prints.
func beside(t *testing.T, i *instance, want int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("posthorn", append(args[:len(args):len(args)], "--config", i.Config)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, append(os.Environ(), i.env...)
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != want {
		t.Errorf("%v: %v, want %d\n%s", args, cmd.ProcessState, want, out.String())
	}
	if strings.Contains(out.String(), "change-me") {
		t.Errorf("%v shows a secret:\n%s", args, out.String())
	}
	return out.String()
}

// A shownState is what a page reads of /status.
type shownState struct {
	Stream, Store, Role string
	Kept                struct{ All, Yours int }
	Minutes             struct{ Sent, Failed []int }
	Outcomes            []struct{ ID, To, Status string }
}

func (h *posthorn) state(t *testing.T) (s shownState, total [2]int) {
	t.Helper()
	a := h.mustGet(t, "/status")
	if err := json.Unmarshal([]byte(a.raw), &s); err != nil || a.status != http.StatusOK {
		t.Fatalf("%v: %d %s", err, a.status, a.raw)
	}
	for i := range s.Minutes.Sent {
		total[0] += s.Minutes.Sent[i]
		total[1] += s.Minutes.Failed[i]
	}
	return s, total
}

// tellsTheSame: what was sent by one, and what became of it, is seen at the other, on the
// page too.
func (c *cluster) tellsTheSame(t *testing.T) {
	var ids []string
	for _, h := range c.ways() {
		for _, to := range []string{"you", "ghost"} {
			a := h.mustPost(t, "/msg/"+to+"?id=state-"+fmt.Sprint(len(ids)), "x", nil)
			ids = append([]string{fmt.Sprint("state-", len(ids), " ", a.status)}, ids...)
		}
	}
	for name, h := range c.ways() {
		s, _ := h.state(t)
		var got []string
		for _, o := range s.Outcomes[:min(6, len(s.Outcomes))] {
			got = append(got, o.ID+" "+map[string]string{"delivered": "201", "bounced": "404"}[o.Status])
		}
		if diff := cmp.Diff(ids, got); diff != "" || s.Stream != "up" || s.Store != "ok" {
			t.Errorf("%s tells %+v: %s", name, s, diff)
		}
	}
	xmpptest.Wait(t, 10*time.Second, "each counts what the other took", func() bool {
		_, one := c.instances[0].state(t)
		_, two := c.instances[1].state(t)
		return one == two && one[0] >= 3 && one[1] >= 3
	})
}

// A gathering is a room in which everything has to be heard once, in order, and from the
// occupant that its sender has been from the beginning.
type gathering struct {
	room
	said, heard int
}

// say sends the next text, from the sender of that name.
func (g *gathering) say(t *testing.T, h *posthorn, senders ...string) {
	t.Helper()
	for _, sender := range senders {
		a := h.mustPost(t, "/msg/"+g.address()+"?type=groupchat", fmt.Sprint(g.said, " from ", sender), func(q *http.Request) { q.SetBasicAuth(sender, password) })
		if a.status != http.StatusCreated && a.status != http.StatusAccepted {
			t.Fatalf("number %d: %d %s", g.said, a.status, a.raw)
		}
		g.said++
	}
}

// hear receives all that was said. The nickname you is taken.
func (g *gathering) hear(t *testing.T) {
	t.Helper()
	for ; g.heard < g.said; g.heard++ {
		m := g.owner.MustReceive(t)
		for m.Body == "" {
			m = g.owner.MustReceive(t)
		}
		number, sender, _ := strings.Cut(m.Body, " from ")
		want := map[string]string{"me": "me", "you": "you_2"}[sender]
		if _, nick, _ := strings.Cut(m.From, "/"); number != fmt.Sprint(g.heard) || nick != want {
			t.Fatalf("heard %q from %q, want number %d from %q", m.Body, nick, g.heard, want)
		}
	}
}

// speaksInRooms: in a room it is one occupant all the time, also while an instance is
// stopped and started again, or hangs; and files wait for the next one.
func (c *cluster) speaksInRooms(t *testing.T) {
	g := &gathering{room: openRoom(t, c.server.MustLogin(t, "owner@example.com", password), "lasting", map[string]string{"muc#roomconfig_persistentroom": "1"})}
	g.enter(t, c.server.MustLogin(t, "you@example.com", password), "you")
	all := func() {
		t.Helper()
		for _, h := range []*posthorn{c.instances[0].posthorn, c.instances[1].posthorn, c.front} {
			g.say(t, h, "me", "you")
		}
		g.hear(t)
	}
	all()
	c.whileStopped(t, func(other *instance) { g.say(t, other.posthorn, "me", "you") })
	all()

	holder, other := c.roles(t)
	if err := holder.Pause(); err != nil {
		t.Fatal(err)
	}
	g.say(t, other.posthorn, "me", "you")
	c.takesFileNow(t, other)
	if err := holder.Resume(); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	all()
}

// whileStopped has something done by the other again and again while the holder stops, and
// starts that again.
func (c *cluster) whileStopped(t *testing.T, do func(other *instance)) {
	t.Helper()
	holder, other := c.roles(t)
	stopped := make(chan error, 1)
	go func() { stopped <- holder.Stop() }()
	for done := false; !done; {
		select {
		case err := <-stopped:
			if done = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
		do(other)
	}
	holder.start(t)
	c.ready(t)
}

// takesFileNow: an instance whose holder does not answer waits until it can ask for a
// place itself.
func (c *cluster) takesFileNow(t *testing.T, i *instance) {
	t.Helper()
	user := c.server.MustLogin(t, "user@example.com", password)
	a, err := i.postPicture("/msg/user", nil)
	if err != nil || a.status != http.StatusCreated && a.status != http.StatusAccepted {
		t.Fatalf("answer is %d %s, %v", a.status, a.raw, err)
	}
	if got, _ := download(t, c.server, user.MustReceive(t).OOB); len(got) != pictureSize {
		t.Errorf("%d bytes came", len(got))
	}
}

// commandsBeside: what administrators do and are told beside an instance, whichever it is,
// with the XMPP server away; and then everything is started again, in the wrong order.
func (c *cluster) commandsBeside(t *testing.T) {
	holder, other := c.roles(t)
	for _, i := range []*instance{holder, other} {
		out := beside(t, i, exitOK, "check")
		for _, want := range []string{"ok    lease", "has the stream, which is up", "ok    component post.example.com"} {
			if !strings.Contains(out, want) {
				t.Errorf("check by %s has no %q:\n%s", i.name, want, out)
			}
		}
		if status, stdout, stderr := as(i.URL).run(t, "you", "by send"); status != exitOK || stdout != "" {
			t.Errorf("send by %s: %d %q %q", i.name, status, stdout, stderr)
		}
		i.mustPost(t, "/msg/you", "so that it knows the password", nil)
	}
	if err := c.server.Stop(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "both know that it is away", func() bool { return !holder.sends() && !other.sends() })
	kept := c.outboxBeside(t, holder, other)
	if status, _, stderr := as(other.URL).run(t, "you", "by send, while it is away"); status != exitOK {
		t.Errorf("send says %d %s", status, stderr)
	}
	if out := beside(t, other, exitFailed, "check"); !strings.Contains(out, "FAIL  component post.example.com") && !strings.Contains(out, "its stream is not known yet") {
		t.Errorf("check says nothing of a server that is away:\n%s", out)
	}
	c.startInAnyOrder(t)
	for _, i := range c.instances {
		for _, id := range kept {
			xmpptest.Wait(t, 20*time.Second, "what was kept is delivered, says "+i.name, func() bool {
				return i.mustGet(t, "/messages/"+id).Status == "delivered"
			})
		}
	}
}

// outboxBeside: what one instance has kept is seen and changed beside the other. It gives
// the ids of what is still to be delivered.
func (c *cluster) outboxBeside(t *testing.T, holder, other *instance) (kept []string) {
	t.Helper()
	ids := make(map[string]string)
	for what, i := range map[string]*instance{"keep": holder, "keep too": other, "drop": holder} {
		a := i.mustPost(t, "/msg/you", what+" this secret text", nil)
		if ids[what] = a.ID; a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.raw)
		}
	}
	out := beside(t, other, exitOK, "outbox", "list")
	for what, id := range ids {
		if !strings.Contains(out, id) {
			t.Errorf("the list lacks what to %s, %s:\n%s", what, id, out)
		}
	}
	if out := beside(t, other, exitOK, "outbox", "drop", ids["drop"]); out != "1 of 1 messages dropped\n" {
		t.Errorf("drop prints %q", out)
	}
	if out := beside(t, holder, exitOK, "outbox", "show", ids["drop"]); !strings.Contains(out, "dropped by the administrator") || strings.Contains(out, "secret") {
		t.Errorf("show prints %q", out)
	}
	if out := beside(t, holder, exitOK, "outbox", "retry", "--all"); !strings.HasSuffix(out, " messages will be tried at once\n") {
		t.Errorf("retry prints %q", out)
	}
	for _, i := range c.instances {
		if a := i.mustGet(t, "/messages/"+ids["drop"]); a.Status != "expired" {
			t.Errorf("%s tells %d %s", i.name, a.status, a.raw)
		}
	}
	return []string{ids["keep"], ids["keep too"]}
}

// startInAnyOrder ends everything, and starts the instances, then PostgreSQL, and then the
// XMPP server.
func (c *cluster) startInAnyOrder(t *testing.T) {
	for _, i := range c.instances {
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	said := make(map[string]int)
	for _, i := range c.instances {
		said[i.name] = len(i.log.String())
		i.start(t)
	}
	for _, i := range c.instances {
		if log := i.log.String()[said[i.name]:]; strings.Count(log, "level=ERROR") != 1 || strings.Contains(log, "level=WARN") || !strings.Contains(log, "messages cannot be kept") {
			t.Errorf("without PostgreSQL %s logs\n%s", i.name, log)
		}
		if status := i.status("/readyz"); status != http.StatusServiceUnavailable {
			t.Errorf("without PostgreSQL readyz of %s is %d", i.name, status)
		}
	}
	if err := c.postgres.Start(); err != nil {
		t.Fatal(err)
	}
	for _, i := range c.instances {
		xmpptest.Wait(t, 20*time.Second, i.name+" can keep messages", func() bool { return i.status("/readyz") == http.StatusOK })
	}
	if err := c.server.Start(); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
}
