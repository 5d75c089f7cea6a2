package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// clientOf is whose request it is in the eyes of a handler.
func clientOf(h *house, remote string, header http.Header) string {
	r := httptest.NewRequest("POST", "/msg/user", strings.NewReader("x"))
	r.RemoteAddr = remote
	if header != nil {
		r.Header = header
	}
	x := &exchange{Handler: h.Handler, r: r}
	return addressInLog(x.client())
}

// TestClient: whose word counts for where a request comes from.
func TestClient(t *testing.T) {
	const proxy, far = "127.0.0.1:1234", "198.51.100.7:1234"
	xff := func(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }
	fwd := func(lines ...string) http.Header { return http.Header{"Forwarded": lines} }
	for _, test := range []struct {
		name   string
		remote string
		header http.Header
		want   string
	}{
		{"no proxy", far, nil, "198.51.100.7"},
		{"a stranger's word", far, xff("192.0.2.1"), "198.51.100.7"},
		{"a stranger's word, the other way", far, fwd("for=192.0.2.1"), "198.51.100.7"},
		{"a proxy that says nothing", proxy, nil, "127.0.0.1"},
		{"a proxy's word", proxy, xff("192.0.2.1"), "192.0.2.1"},
		{"a proxy before the proxy", proxy, xff("192.0.2.1, 10.1.2.3"), "192.0.2.1"},
		{"what the client said", proxy, xff("203.0.113.9, 192.0.2.1"), "192.0.2.1"},
		{"what the client said of a trusted one", proxy, xff("10.9.9.9, 192.0.2.1, 10.1.2.3"), "192.0.2.1"},
		{"in several lines", proxy, xff("203.0.113.9", "192.0.2.1", "10.1.2.3"), "192.0.2.1"},
		{"trusted ones alone", proxy, xff("10.1.2.3, 10.1.2.4"), "10.1.2.3"},
		{"no address, last", proxy, xff("192.0.2.1, unknown"), "127.0.0.1"},
		{"no address behind a trusted one", proxy, xff("192.0.2.1, -, 10.1.2.3"), "10.1.2.3"},
		{"empty", proxy, xff(""), "127.0.0.1"},
		{"an empty last one", proxy, xff("192.0.2.1,"), "127.0.0.1"},
		{"a name", proxy, xff("localhost"), "127.0.0.1"},
		{"with a port", proxy, xff("192.0.2.1:4711"), "192.0.2.1"},
		{"IPv6", proxy, xff("2001:db8::1"), "2001:db8::1"},
		{"IPv6 in brackets", proxy, xff("[2001:db8::1]"), "2001:db8::1"},
		{"IPv6 with a port", proxy, xff("[2001:db8::1]:4711"), "2001:db8::1"},
		{"IPv6 with a zone", proxy, xff("fe80::1%eth0"), "fe80::1"},
		{"IPv4 in IPv6", proxy, xff("::ffff:192.0.2.1"), "192.0.2.1"},
		{"a proxy by IPv4 in IPv6", "[::ffff:127.0.0.1]:1234", xff("192.0.2.1, ::ffff:10.1.2.3"), "192.0.2.1"},
		{"a proxy by IPv6", "[2001:db8:aaaa::1]:1234", xff("192.0.2.1"), "192.0.2.1"},
		{"bytes of all sorts", proxy, xff("192.0.2.1, \x00\xff"), "127.0.0.1"},
		{"an unknown socket", "@", xff("192.0.2.1"), "unix"},

		{"Forwarded", proxy, fwd("for=192.0.2.1"), "192.0.2.1"},
		{"Forwarded, with more", proxy, fwd(`by=203.0.113.43; For="192.0.2.1:4711" ;proto=https`), "192.0.2.1"},
		{"Forwarded, IPv6", proxy, fwd(`for="[2001:db8:cafe::17]:4711"`), "2001:db8:cafe::17"},
		{"Forwarded, several", proxy, fwd(`for=203.0.113.9, for=192.0.2.1`, `for="10.1.2.3"`), "192.0.2.1"},
		{"Forwarded, a list in quotes", proxy, fwd(`for=192.0.2.1;proto="a,b;for=203.0.113.9"`), "192.0.2.1"},
		{"Forwarded, hidden", proxy, fwd("for=192.0.2.1, for=_hidden"), "127.0.0.1"},
		{"Forwarded, unknown", proxy, fwd("for=unknown"), "127.0.0.1"},
		{"Forwarded, without a for", proxy, fwd("for=192.0.2.1, proto=http"), "127.0.0.1"},
		{"Forwarded, twice for", proxy, fwd("for=192.0.2.1;for=203.0.113.9"), "127.0.0.1"},
		{"Forwarded, a quote left open", proxy, fwd(`for="203.0.113.9`, `for=192.0.2.1`), "192.0.2.1"},
		{"Forwarded, a quote left open before quotes", proxy, fwd(`for="203.0.113.9, for="192.0.2.1"`), "192.0.2.1"},
		{"Forwarded, escaped", proxy, fwd(`for="192.0.2.\1"`), "127.0.0.1"},
		{"both", proxy, http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Forwarded": {"for=203.0.113.9"}}, "192.0.2.1"},
	} {
		h := newHouse(func(o *Options) {
			for _, p := range []string{"127.0.0.1/32", "10.0.0.0/8", "2001:db8:aaaa::/48"} {
				o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(p))
			}
		})
		if got := clientOf(h, test.remote, test.header); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestUnixClient: whoever may open the socket's file is a proxy where "unix" is
// listed.
func TestUnixClient(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		h := newHouse(func(o *Options) { o.TrustUnix = trusted })
		want := "unix"
		if trusted {
			want = "192.0.2.1"
		}
		if got := clientOf(h, "@", http.Header{"X-Forwarded-For": {"192.0.2.1"}}); got != want {
			t.Errorf("trusted %v: %s, want %s", trusted, got, want)
		}
		if got := clientOf(h, "", nil); got != "unix" {
			t.Errorf("trusted %v: %s without a word", trusted, got)
		}
		if got := clientOf(h, "192.0.2.9:1", http.Header{"X-Forwarded-For": {"192.0.2.1"}}); got != "192.0.2.9" {
			t.Errorf("trusted %v: %s by TCP", trusted, got)
		}
	}
}

// TestUnlistedProxy is warned of, once, where it is on this machine.
func TestUnlistedProxy(t *testing.T) {
	for remote, warned := range map[string]int{"127.0.0.1:1": 1, "[::1]:1": 1, "@": 1, "198.51.100.7:1": 0} {
		h := newHouse(nil)
		for range 3 {
			clientOf(h, remote, http.Header{"X-Forwarded-For": {"192.0.2.1"}})
			clientOf(h, remote, nil)
		}
		if n := strings.Count(h.log.String(), "http.trusted_proxies does not list"); n != warned {
			t.Errorf("%s: %d warnings, want %d:\n%s", remote, n, warned, h.log)
		}
	}
}

// TestClientIsAsked: the verifier and the log get the client's address.
func TestClientIsAsked(t *testing.T) {
	h := newHouse(func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} })
	got := h.do(t, call{body: "x", header: map[string]string{"X-Forwarded-For": "203.0.113.9"}})
	if want := netip.MustParseAddr("203.0.113.9"); got.status != 201 || h.verifier.client != want || !strings.Contains(h.log.String(), "addr=203.0.113.9 ") {
		t.Errorf("%d, asked for %s, logged %s", got.status, h.verifier.client, h.log)
	}
}
