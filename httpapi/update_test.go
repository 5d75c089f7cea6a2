package httpapi

import (
	"net/url"
	"strings"
	"testing"
)

// TestUpdateKey: what is asked for of a message that is its own, and of one that a
// template made.
func TestUpdateKey(t *testing.T) {
	none, keyed, updates := about{}, about{key: "group"}, about{key: "group", update: true}
	for _, test := range []struct {
		asked string
		hook  bool
		about about
		want  string
	}{
		{"", false, none, ""},
		{"0", false, none, ""},
		{"No", false, none, ""},
		{"1", false, none, "1"},
		{"yes", false, none, "yes"},
		{"disk", false, none, "disk"},

		{"", true, none, ""},
		{"0", true, none, ""},
		{"1", true, none, ""},
		{"disk", true, none, "disk"},
		{"", true, about{update: true}, ""},

		{"", true, keyed, ""},
		{"0", true, keyed, ""},
		{"1", true, keyed, "group"},
		{"True", true, keyed, "group"},
		{"disk", true, keyed, "disk"},

		{"", true, updates, "group"},
		{"0", true, updates, ""},
		{"off", true, updates, ""},
		{"1", true, updates, "group"},
		{"disk", true, updates, "disk"},
	} {
		if got := updateKey(test.asked, test.hook, test.about); got != test.want {
			t.Errorf("updateKey(%q, %v, %+v) = %q, want %q", test.asked, test.hook, test.about, got, test.want)
		}
	}
}

// TestHookUpdates: a template's word that a message is new counts whatever the key is,
// since people are not notified of corrections.
func TestHookUpdates(t *testing.T) {
	for _, test := range []struct {
		query, key string
		fresh      bool
	}{
		{"", "", true},
		{"?update=1", "k", true},
		{"?update=0", "", true},
		{"?update=disk", "disk", true},
	} {
		h := hookHouse(t)
		if got := h.do(t, call{path: "/hook/whole/user" + test.query, typ: asJSON, body: `{"text":"x"}`}); got.status != 201 {
			t.Fatalf("%s: %d %s", test.query, got.status, got.body)
		}
		if r := h.deliverer.requests[0]; r.Update != test.key || r.Fresh != test.fresh {
			t.Errorf("%s: the key is %q, and the message new: %v", test.query, r.Update, r.Fresh)
		}
	}
}

// TestUpdates: every way to send takes the key from the query.
func TestUpdates(t *testing.T) {
	long := strings.Repeat("ä", maxUpdate/2)
	for _, test := range []struct {
		name string
		call call
		want string
	}{
		{"none", call{path: "/msg/user"}, ""},
		{"text", call{path: "/msg/user?update=disk+full%2Fvar"}, "disk full/var"},
		{"off", call{path: "/msg/user?update=0"}, ""},
		{"empty", call{path: "/msg/user?update="}, ""},
		{"a form", call{path: "/msg/user?update=disk", typ: asForm, body: "body=x&update=y"}, "disk"},
		{"JSON", call{path: "/msg?update=disk", typ: asJSON, body: `{"to":"user","body":"x","update":"y"}`}, "disk"},
		{"mod_rest", call{path: "/rest/message/chat/user@example.com?update=disk"}, "disk"},
		{"several", call{path: "/msg/user,you?update=disk"}, "disk"},
		{"PUT", call{method: "PUT", path: "/msg/user?update=disk"}, "disk"},
		{"the longest", call{path: "/msg/user?update=" + url.QueryEscape(long)}, long},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			if test.call.body == "" {
				test.call.body = "x"
			}
			if got := h.do(t, test.call); got.status != 201 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			r := h.deliverer.requests[0]
			if r.Update != test.want || r.Fresh || r.Messages[0].Replace != "" || r.Messages[0].Body != "x" {
				t.Errorf("got %+v of %+v, want the key %q", r, r.Messages[0], test.want)
			}
		})
	}
	for name, query := range map[string]string{
		"too long": "update=" + strings.Repeat("x", maxUpdate+1), "a line feed": "update=a%0Ab", "NUL": "update=%00", "DEL": "update=%7F", "a C1 control": "update=%C2%85", "no UTF-8": "update=%FF",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(nil)
			if got := h.do(t, call{path: "/msg/user?" + query, body: "x"}); got.status != 422 || !strings.HasPrefix(got.member(t, "detail").(string), "update: has to be one line") || len(h.deliverer.requests) > 0 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	h := newHouse(nil)
	if got := h.do(t, call{path: "/msg/user?update=a&update=b", body: "x"}); got.status != 400 {
		t.Errorf("twice: %d %s", got.status, got.body)
	}
}
