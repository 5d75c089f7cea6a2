package token

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 500, time.UTC)

// TestText: no two are alike, all have their form, and nothing else has.
func TestText(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		_, text, err := Request{Name: "x"}.Make("me@example.com", now)
		if err != nil || !Is(text.Reveal()) || len(text.Reveal()) != 46 || seen[text.Reveal()] {
			t.Fatalf("%q, %v", text.Reveal(), err)
		}
		seen[text.Reveal()] = true
		if shown := fmt.Sprintf("%v %+v %#v", text, text, text); strings.Contains(shown, "ph_") {
			t.Fatalf("it prints as %s", shown)
		}
	}
	for _, text := range []string{"", "ph_", "password", "ph_" + strings.Repeat("A", 42), "ph_" + strings.Repeat("A", 44), "ph_" + strings.Repeat("A", 42) + "=", "ph_" + strings.Repeat("A", 42) + "B", "PH_" + strings.Repeat("A", 43), " ph_" + strings.Repeat("A", 43), "ph_" + strings.Repeat("A", 42) + "+"} {
		if Is(text) {
			t.Errorf("%q is taken for a token", text)
		}
	}
	if Hash(secret.New("abc")) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error("the hash is not SHA-256")
	}
}

func TestExpires(t *testing.T) {
	for life, want := range map[string]string{
		"":                          "2027-02-22T12:00:00Z",
		"90d":                       "2027-02-22T12:00:00Z",
		"12h":                       "2026-11-25T00:00:00Z",
		"1s":                        "2026-11-24T12:00:01Z",
		"2027-01-31":                "2027-01-31T00:00:00Z",
		"2027-01-31T01:00:00Z":      "2027-01-31T01:00:00Z",
		"2026-11-24T13:30:00+01:00": "2026-11-24T12:30:00Z",
		"3660d":                     "2036-12-01T12:00:00Z",
		"3661d":                     "", "0": "", "0d": "", "-1d": "", "1w": "", "d": "", "1.5d": "", "1e3d": "", "9999999d": "", "2026-11-24": "", "2037-01-01": "", "0001-01-01": "", "now": "",
		"9223372036854775807ns": "",
	} {
		got, _, err := Request{Name: "x", Life: life}.Make("me@example.com", now)
		if want == "" && (err == nil || fault.Of(err).Kind != fault.Unsendable || !strings.HasPrefix(fault.Of(err).Public, "expires: ")) {
			t.Errorf("%q: expires %v, %v", life, got.Expires, err)
		}
		if want != "" && (err != nil || got.Expires.UTC().Format(time.RFC3339Nano) != want) {
			t.Errorf("%q: expires %v, %v; want %s", life, got.Expires, err, want)
		}
	}
	one := Token{Expires: now}
	if one.Valid(now) || !one.Valid(now.Add(-1)) {
		t.Error("it lives until it expires, and not longer")
	}
}

// TestRecipients: JIDs and domains in their one form.
func TestRecipients(t *testing.T) {
	for written, want := range map[string]string{
		"user@example.com": "user@example.com", "User@Example.COM": "user@example.com", "Example.COM": "example.com", "localhost": "localhost",
		"rooms.example.com": "rooms.example.com", "": "", "user": "", "user@example.com/phone": "", "example.com/phone": "", "a b@example.com": "", "@example.com": "", "user@": "", "STRAẞE@example.com": "",
	} {
		given := []string{written}
		got, _, err := Request{Name: "x", Recipients: given}.Make("me@localhost", now)
		if want == "" && (err == nil || !strings.HasPrefix(err.Error(), "recipients: ")) || want != "" && (err != nil || got.Recipients[0] != want) {
			t.Errorf("%q: %v, %v", written, got.Recipients, err)
		}
		if given[0] != written {
			t.Error("what was given has changed")
		}
	}
}

func TestNetworks(t *testing.T) {
	for written, inside := range map[string]string{
		"192.0.2.7": "192.0.2.7", "192.0.2.7/24": "192.0.2.200", "::ffff:192.0.2.7": "192.0.2.7", "::ffff:192.0.2.0/120": "192.0.2.9", "0.0.0.0/0": "8.8.8.8", "::ffff:0:0/96": "8.8.8.8",
		"2001:db8::/32": "2001:db8:1::1", "2001:db8::1": "2001:db8::1",
		"": "", "home": "", "fe80::1%eth0": "", "192.0.2.0/33": "", "::ffff:0:0/95": "", "192.0.2": "", "192.0.2.0/24 ": "", "127.1": "",
	} {
		network, err := ParseNetwork(written)
		if inside == "" {
			if err == nil {
				t.Errorf("%q is the network %v", written, network)
			}
			continue
		}
		limits := Limits{Networks: []netip.Prefix{network}}
		if err != nil || !limits.MayComeFrom(netip.MustParseAddr(inside)) || network != network.Masked() ||
			limits.MayComeFrom(netip.MustParseAddr("2001:db9::1")) || limits.MayComeFrom(netip.Addr{}) {
			t.Errorf("%q is %v, %v", written, network, err)
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Recipients: []string{"user@example.com", "example.org"}, Templates: []string{"github"}}
	for to, want := range map[message.JID]bool{
		"user@example.com": true, "user@example.com/phone": true, "anybody@example.org": true, "you@example.com": false, "you@sub.example.org": false, "example.org@example.com": false, "you@example.com/example.org": false, "you@example.net/user@example.com": false,
	} {
		if l.MaySendTo(to) != want {
			t.Errorf("MaySendTo(%s) is not %v", to, want)
		}
	}
	if !l.MayRender("github") || l.MayRender("gitlab") || l.MayRender("") {
		t.Error("it is good for another template, or not for its own")
	}
	var none Limits
	if !none.MaySendTo("user@example.com") || !none.MayRender("") || !none.MayRender("github") || !none.MayComeFrom(netip.Addr{}) {
		t.Error("without limits something is refused")
	}
}
