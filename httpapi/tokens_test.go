package httpapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/token"
)

// made keeps a token for its owner, and gives its text.
func (h *house) made(t testing.TB, owner message.JID, r token.Request) string {
	t.Helper()
	if r.Name == "" {
		r.Name = fmt.Sprint("token ", len(h.tokens.kept))
	}
	made, text, err := r.Make(owner, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.tokens.kept = append(h.tokens.kept, made)
	return text.Reveal()
}

func creation(body string) call {
	return call{path: "/tokens", typ: asJSON, body: body}
}

// TestTokens: made, listed, used, revoked, and never shown but once.
func TestTokens(t *testing.T) {
	h := newHouse(nil)
	began := time.Now()
	got := h.do(t, creation(`{"name":" backup@db1 ","expires":"30d","recipients":["User@Example.com","rooms.example.com"],"templates":null,"networks":["::ffff:192.0.2.1","10.1.2.3/8"],"rate":2.5,"signing_secret":"hunter2"}`))
	text, _ := got.member(t, "token").(string)
	if got.status != 201 || !token.Is(text) || got.member(t, "name") != "backup@db1" || strings.Contains(got.body, "example.com/") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	expires, err := time.Parse(time.RFC3339, got.member(t, "expires").(string))
	if life := expires.Sub(began); err != nil || life < 30*24*time.Hour-time.Second || life > 30*24*time.Hour+time.Minute {
		t.Errorf("it expires %v, %v", expires, err)
	}
	kept := h.tokens.kept[0]
	if kept.Owner != me || kept.Hash == text || kept.Signing.Reveal() != "hunter2" {
		t.Errorf("kept is %+v", kept)
	}
	want := token.Limits{Recipients: []string{"user@example.com", "rooms.example.com"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("10.0.0.0/8")}, Rate: 2.5}
	if diff := cmp.Diff(want, kept.Limits, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}

	h.made(t, "you@example.com", token.Request{Name: "yours"})
	list := h.do(t, call{method: "GET", path: "/tokens"})
	if list.status != 200 || strings.Contains(list.body, text) || strings.Contains(list.body, kept.Hash) || strings.Contains(list.body, "yours") || strings.Contains(list.body, "hunter2") {
		t.Fatalf("%d %s", list.status, list.body)
	}
	var listed struct{ Tokens []map[string]any }
	if err := json.Unmarshal([]byte(list.body), &listed); err != nil || len(listed.Tokens) != 1 || listed.Tokens[0]["name"] != "backup@db1" || listed.Tokens[0]["signed"] != true || listed.Tokens[0]["used"] != nil {
		t.Errorf("%v: %s", err, list.body)
	}
	for _, path := range []string{"/tokens/yours", "/tokens/none", "/tokens//", "/tokens/%2F", "/tokens/%00", "/tokens/%ff"} {
		if got := h.do(t, call{method: "DELETE", path: path}); got.status != 404 && got.status != 405 || len(h.tokens.kept) != 2 {
			t.Fatalf("DELETE %s: %d %s", path, got.status, got.body)
		}
	}
	if got := h.do(t, call{method: "DELETE", path: "/tokens/backup%40db1"}); got.status != 204 || got.body != "" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := h.do(t, call{body: "x", header: map[string]string{"Authorization": "Bearer " + text}}); got.status != 401 {
		t.Fatalf("a revoked token: %d %s", got.status, got.body)
	}
	if strings.Contains(h.log.String(), text) || strings.Contains(h.log.String(), text[5:20]) {
		t.Errorf("the token is shown in %s", h.log)
	}
}

// TestTokenRefused: what is no token, and is not made.
func TestTokenRefused(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		status int
		detail string
	}{
		"no name":               {`{}`, 422, "name: "},
		"a blank name":          {`{"name":" "}`, 422, "name: "},
		"a long name":           {`{"name":"` + strings.Repeat("ä", 65) + `"}`, 422, "name: "},
		"a name with a feed":    {`{"name":"a\nb"}`, 422, "name: "},
		"a name that turns":     {`{"name":"a\u202eb"}`, 422, "name: "},
		"unknown member":        {`{"name":"a","recipient":["user@example.com"]}`, 422, "recipient: is no field"},
		"another's":             {`{"name":"a","owner":"you@example.com"}`, 422, "owner: is no field"},
		"member twice":          {`{"name":"a","name":"b"}`, 422, "twice"},
		"member in capitals":    {`{"Name":"a"}`, 422, "Name: is no field"},
		"expired":               {`{"name":"a","expires":"2020-01-01"}`, 422, "expires: "},
		"no time":               {`{"name":"a","expires":"soon"}`, 422, "expires: "},
		"negative":              {`{"name":"a","expires":"-1h"}`, 422, "expires: "},
		"eleven years":          {`{"name":"a","expires":"4015d"}`, 422, "expires: "},
		"a date too far away":   {`{"name":"a","expires":"2999-01-01"}`, 422, "expires: "},
		"a number":              {`{"name":"a","expires":90}`, 422, "expires: is of the wrong shape"},
		"recipients of a kind":  {`{"name":"a","recipients":"user@example.com"}`, 422, "recipients: is of the wrong shape"},
		"no recipient":          {`{"name":"a","recipients":[]}`, 422, "recipients: is empty"},
		"no network":            {`{"name":"a","networks":[]}`, 422, "networks: is empty"},
		"an empty recipient":    {`{"name":"a","recipients":[""]}`, 422, "recipients: "},
		"null in a list":        {`{"name":"a","recipients":[null]}`, 422, "recipients: "},
		"a resource":            {`{"name":"a","recipients":["user@example.com/x"]}`, 422, "recipients: "},
		"a name alone":          {`{"name":"a","recipients":["user"]}`, 422, `recipients: "user"`},
		"too many":              {`{"name":"a","templates":["` + strings.Repeat(`a","`, 100) + `"]}`, 422, "at most 100"},
		"no network at all":     {`{"name":"a","networks":["home"]}`, 422, "networks: "},
		"half of IPv4 as IPv6":  {`{"name":"a","networks":["::ffff:0:0/90"]}`, 422, "networks: "},
		"negative rate":         {`{"name":"a","rate":-1}`, 422, "rate: "},
		"a rate in words":       {`{"name":"a","rate":"5"}`, 422, "rate: is of the wrong shape"},
		"a long signing secret": {`{"name":"a","signing_secret":"` + strings.Repeat("x", 256) + `"}`, 422, "signing_secret: "},
		"no object":             {`[]`, 422, "object"},
		"no JSON":               {`name=a`, 400, "JSON"},
		"too large":             {`{"name":"` + strings.Repeat("x", 70000) + `"}`, 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(nil)
			got := h.do(t, creation(test.body))
			if detail, _ := got.member(t, "detail").(string); got.status != test.status || !strings.Contains(detail, test.detail) || len(h.tokens.kept) > 0 {
				t.Errorf("%d %s; want %d %q", got.status, got.body, test.status, test.detail)
			}
		})
	}
	for name, err := range map[string]error{"taken": fault.New(fault.Conflict, "taken"), "failing": fault.New(fault.Unavailable, "failing")} {
		h := newHouse(nil)
		h.tokens.err = err
		if got, want := h.do(t, creation(`{"name":"a"}`)).status, rowOf(fault.Of(err).Kind).status; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// TestTokenManagers: who manages tokens shows the password of their account, and is
// no page of another origin.
func TestTokenManagers(t *testing.T) {
	for _, test := range []struct {
		name   string
		header map[string]string
		want   int // 0: allowed
	}{
		{"the owner", nil, 0},
		{"our own page", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://example.com"}, 0},
		{"nobody", map[string]string{"Authorization": "-"}, 401},
		{"a wrong password", map[string]string{"Authorization": basic(me, "x")}, 401},
		{"a token", map[string]string{"Authorization": "Bearer TOKEN"}, 403},
		{"a token as password", map[string]string{"Authorization": "TOKEN as password"}, 403},
		{"a page of another origin", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"an old browser's", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a page that may send", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://status.example.com"}, 403},
		{"a page that may send, alone", map[string]string{"Origin": "https://status.example.com"}, 403},
	} {
		for _, c := range []call{creation(`{"name":"new"}`), {method: "GET", path: "/tokens"}, {method: "DELETE", path: "/tokens/old"}} {
			t.Run(test.name+" "+c.path+c.method, func(t *testing.T) {
				h := newHouse(func(o *Options) { o.CORSOrigins = []string{"https://status.example.com"} })
				text := h.made(t, me, token.Request{Name: "old"})
				c.header = map[string]string{}
				for name, value := range test.header {
					c.header[name] = strings.ReplaceAll(value, "TOKEN", text)
				}
				if test.name == "a token as password" {
					c.header["Authorization"] = basic(me, text)
				}
				got := h.do(t, c)
				foreign := test.header["Origin"] != "" && c.method == "GET" && strings.Contains(test.header["Origin"], "evil")
				switch {
				case foreign && got.header.Get("Access-Control-Allow-Origin") != "": // GET is safe: the browser keeps the answer to itself
					t.Errorf("the page may read %s", got.body)
				case !foreign && test.want != 0 && got.status != test.want, test.want == 0 && got.status/100 != 2:
					t.Errorf("%d %s", got.status, got.body)
				case test.want != 0 && (len(h.tokens.kept) != 1 || h.tokens.kept[0].Name != "old"):
					t.Error("the tokens have changed")
				case strings.Contains(got.body+h.log.String(), text):
					t.Errorf("the token is shown: %s %s", got.body, h.log)
				}
			})
		}
	}
	t.Run("in a URL", func(t *testing.T) {
		h := newHouse(nil)
		text := h.made(t, me, token.Request{Name: "old"})
		if got := h.do(t, call{method: "DELETE", path: "/tokens/old?token=" + text, header: map[string]string{"Authorization": "-"}}); got.status != 403 || len(h.tokens.kept) != 1 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("who may not send", func(t *testing.T) {
		h := newHouse(func(o *Options) { o.Senders = []string{"you@example.com"} })
		if got := h.do(t, creation(`{"name":"new"}`)); got.status != 403 || len(h.tokens.kept) > 0 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("without a store", func(t *testing.T) {
		h := newHouse(nil)
		h.Handler.tokens = nil
		if got := h.do(t, creation(`{"name":"new"}`)); got.status != 404 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

// TestTokenCredentials: in which ways a token is shown, and what counts where there
// are two.
func TestTokenCredentials(t *testing.T) {
	h := newHouse(nil)
	mine := h.made(t, me, token.Request{})
	yours := h.made(t, "you@example.com", token.Request{})
	for _, test := range []struct {
		name, header, query string
		want                int
		from                message.JID
	}{
		{"Bearer", "Bearer " + mine, "", 201, me},
		{"bearer, more spaces", "bearer   " + mine + " ", "", 201, me},
		{"as the password", basic(me, mine), "", 201, me},
		{"another's as my password", basic(me, yours), "", 401, ""},
		{"in the URL", "-", "?token=" + mine, 201, me},
		{"the header counts, not the URL", basic(me, password), "?token=" + yours, 201, me},
		{"of two tokens the header's", "Bearer " + yours, "?token=" + mine, 201, "you@example.com"},
		{"a wrong header is not made good by the URL", basic(me, "x"), "?token=" + mine, 401, ""},
		{"nor an empty one", "", "?token=" + mine, 401, ""},
		{"twice in the URL", "-", "?token=" + mine + "&token=" + mine, 400, ""},
		{"empty in the URL", "-", "?token=", 401, ""},
		{"in the body", "-", "", 401, ""},
		{"Bearer of nothing", "Bearer ", "", 401, ""},
		{"Bearer of a password", "Bearer " + password, "", 401, ""},
		{"Token", "Token " + mine, "", 401, ""},
		{"unknown", "Bearer ph_" + strings.Repeat("A", 43), "", 401, ""},
		{"cut off", "Bearer " + mine[:len(mine)-1], "", 401, ""},
		{"longer", "Bearer " + mine + "A", "", 401, ""},
		{"in capitals", "Bearer " + strings.ToUpper(mine), "", 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := h.do(t, call{path: "/msg/user" + test.query, typ: asForm, body: "body=x&token=" + mine, header: map[string]string{"Authorization": test.header}})
			sent := h.deliverer.take()
			if got.status != test.want || (len(sent) == 1) != (test.want == 201) || len(sent) == 1 && sent[0].From != test.from {
				t.Errorf("%d %s, sent %v", got.status, got.body, sent)
			}
			challenge := got.header.Get("WWW-Authenticate")
			if alone := strings.HasPrefix(strings.ToLower(test.header), "bearer ph_"); got.status == 401 && alone != strings.HasPrefix(challenge, "Bearer ") && test.name != "Bearer of a password" {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
			for _, text := range []string{mine, yours} {
				if strings.Contains(got.body, text) || strings.Contains(h.log.String(), text) {
					t.Errorf("a token is shown: %s %s", got.body, h.log)
				}
			}
		})
	}
	request := []string{"POST /msg/user HTTP/1.1", "Host: x", "Content-Type: text/plain", "Authorization: Bearer " + mine, "Authorization: Bearer " + mine}
	if got := wire(t, h.serve(t), lines("x", request...)); got.status != 400 {
		t.Errorf("two headers: %d %s", got.status, got.body)
	}
}

// TestTokenLimits: what a token is not for is refused, and nothing is sent.
func TestTokenLimits(t *testing.T) {
	for _, test := range []struct {
		name, path string
		request    token.Request
		want       int
	}{
		{"the recipient", "/msg/user", token.Request{Recipients: []string{"user@example.com"}}, 201},
		{"a client of the recipient", "/msg/user@example.com/phone", token.Request{Recipients: []string{"user@example.com"}}, 201},
		{"their domain", "/msg/user", token.Request{Recipients: []string{"example.com"}}, 201},
		{"another", "/msg/bob", token.Request{Recipients: []string{"user@example.com"}}, 403},
		{"one of two is another", "/msg/user,bob", token.Request{Recipients: []string{"user@example.com"}}, 403},
		{"a domain below", "/msg/user@sub.example.com", token.Request{Recipients: []string{"example.com"}}, 403},
		{"a name that is a domain", "/msg/example.org@example.com", token.Request{Recipients: []string{"example.org"}}, 403},
		{"a room", "/msg/ops@rooms.example.com?type=groupchat", token.Request{Recipients: []string{"ops@rooms.example.com"}}, 201},
		{"another room", "/msg/dev@rooms.example.com?type=groupchat", token.Request{Recipients: []string{"ops@rooms.example.com"}}, 403},
		{"by mod_rest's way", "/rest/message/chat/bob@example.com", token.Request{Recipients: []string{"user@example.com"}}, 403},
		{"the network", "/msg/user", token.Request{Networks: []string{"192.0.2.0/24"}}, 201}, // httptest's client is 192.0.2.1
		{"the address", "/msg/user", token.Request{Networks: []string{"10.0.0.0/8", "192.0.2.1"}}, 201},
		{"another network", "/msg/user", token.Request{Networks: []string{"192.0.3.0/24", "::/0"}}, 403},
		{"for a webhook", "/msg/user", token.Request{Templates: []string{"github"}}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			text := h.made(t, me, test.request)
			got := h.do(t, call{path: test.path, body: "x", header: map[string]string{"Authorization": "Bearer " + text}})
			if got.status != test.want || (len(h.deliverer.take()) > 0) != (test.want == 201) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	t.Run("to in the body", func(t *testing.T) {
		h := newHouse(nil)
		text := h.made(t, me, token.Request{Recipients: []string{"user@example.com"}})
		got := h.do(t, call{path: "/msg/user", typ: asJSON, body: `{"to":"bob","body":"x"}`, header: map[string]string{"Authorization": "Bearer " + text}})
		if got.status != 403 || len(h.deliverer.take()) > 0 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("an account that may not send any more", func(t *testing.T) {
		h := newHouse(func(o *Options) { o.Senders = []string{"you@example.com"} })
		text := h.made(t, me, token.Request{})
		if got := h.do(t, call{body: "x", header: map[string]string{"Authorization": "Bearer " + text}}); got.status != 403 || len(h.deliverer.take()) > 0 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("what became of a message to another", func(t *testing.T) {
		h := newHouse(nil)
		text := h.made(t, me, token.Request{Recipients: []string{"user@example.com"}})
		h.deliverer.records = []message.Record{{From: me, To: "bob@example.com", ID: "m1", State: message.Queued}}
		if got := h.do(t, call{method: "GET", path: "/messages/m1", header: map[string]string{"Authorization": "Bearer " + text}}); got.status != 404 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}
