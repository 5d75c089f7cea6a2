package httpapi

import (
	"net/http/httptest"
	"testing"
)

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name, path, origin string
		want               map[string]string // "": the header is missing
	}{
		{"message", "/msg/user", "", map[string]string{"Allow": "POST, PUT, OPTIONS", "Accept": accepted, "Accept-Post": accepted, "Vary": "Origin", "Access-Control-Allow-Origin": ""}},
		{"rest", "/rest", "", map[string]string{"Allow": "POST, PUT, OPTIONS", "Accept-Post": accepted}},
		{"health", "/healthz", "", map[string]string{"Allow": "GET, HEAD, OPTIONS", "Accept": "", "Accept-Post": ""}},
		{"preflight", "/msg/user", "https://status.example.com", map[string]string{
			"Allow": "POST, PUT, OPTIONS", "Access-Control-Allow-Origin": "https://status.example.com", "Access-Control-Allow-Methods": "POST, PUT",
			"Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Subject, Title", "Access-Control-Max-Age": "7200", "Vary": "Origin"}},
		{"preflight of others", "/msg/user", "https://evil.example", map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": "", "Vary": "Origin"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(func(o *Options) { o.CORSOrigins = []string{"https://Status.example.com"} })
			header := map[string]string{"Authorization": "-", "Origin": "-"}
			if test.origin != "" {
				header["Origin"], header["Access-Control-Request-Method"] = test.origin, "POST"
			}
			got := h.do(t, call{method: "OPTIONS", path: test.path, header: header})
			if got.status != 204 || got.body != "" {
				t.Fatalf("%d %q", got.status, got.body)
			}
			for name, want := range test.want {
				if got.header.Get(name) != want {
					t.Errorf("%s is %q; want %q", name, got.header.Get(name), want)
				}
			}
		})
	}
}

// TestOptionsOfTheServer: `OPTIONS *` asks for what the server can do at all.
func TestOptionsOfTheServer(t *testing.T) {
	for _, base := range []string{"/msg", "", "/pöst"} {
		h := newHouse(func(o *Options) { o.Path = base })
		s := httptest.NewUnstartedServer(h)
		s.Config.DisableGeneralOptionsHandler = true // else net/http answers
		s.Start()
		got := wire(t, s, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
		if checkAnswer(t, h, got); got.status != 204 || got.header.Get("Allow") != "POST, PUT, OPTIONS" || got.header.Get("Accept") != accepted || got.header.Get("Accept-Post") != accepted {
			t.Errorf("%q: %d %v %s", base, got.status, got.header, got.body)
		}
		s.Close()
	}
}

func TestOrigins(t *testing.T) {
	for _, test := range []struct {
		name   string
		header map[string]string
		want   int
		shared bool // the page may read the answer
	}{
		{"curl", nil, 201, false},
		{"Node's fetch", map[string]string{"Sec-Fetch-Mode": "cors"}, 201, false},
		{"our own page", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://example.com"}, 201, false},
		{"our own page, old browser", map[string]string{"Origin": "http://example.com"}, 201, false},
		{"a foreign page", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403, false},
		{"a page beside us", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://www.example.com"}, 403, false},
		{"a foreign page, old browser", map[string]string{"Origin": "https://evil.example"}, 403, false},
		{"a page of no origin", map[string]string{"Origin": "null"}, 403, false},
		{"a configured page", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://status.example.com"}, 201, true},
		{"a configured page, wrong password", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://status.example.com", "Authorization": basic(me, "x")}, 401, true},
		{"a configured page, no password", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://status.example.com", "Authorization": "-"}, 401, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(func(o *Options) { o.CORSOrigins = []string{"https://status.example.com"} })
			got := h.do(t, call{body: "x", header: test.header})
			if got.status != test.want || (len(h.deliverer.take()) > 0) != (test.want == 201) {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if test.shared != (got.header.Get("Access-Control-Allow-Origin") != "") || got.header.Get("Vary") != "Origin" {
				t.Fatalf("%v", got.header)
			}
		})
	}
}
