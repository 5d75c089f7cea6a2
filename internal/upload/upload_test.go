package upload

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	me    = message.JID("me@example.com")
	token = "Bearer s3cret"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 1<<13)

func picture() message.File {
	return message.File{Name: "x.png", Type: "image/png", Size: int64(len(content))}
}

// A fakeSlots gives the same slot to everybody.
type fakeSlots struct {
	slot Slot
	err  error
}

func (f fakeSlots) UploadLimit(context.Context, message.JID) (int64, error) { return 42, f.err }

func (f fakeSlots) RequestSlot(context.Context, message.JID, message.File) (Slot, error) {
	return f.slot, f.err
}

// place is a slot at that URL.
func place(url string) Slot {
	return Slot{Service: "upload.example.com", Put: url + "/put/x.png?sig=s3cret", Get: url + "/get/x.png",
		Header: map[string][]secret.Value{"Authorization": {secret.New(token)}, "Cookie": {secret.New("a=1"), secret.New("b=2")}}}
}

func newUploader(s slots, roots *x509.CertPool) *Uploader {
	return New(Options{Roots: map[string]*x509.CertPool{"example.com": roots}, Metrics: prometheus.NewRegistry()}, s)
}

func rootsOf(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// serve runs a service that answers with h.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestUpload: what the web server gets, by TLS, and on this machine without.
func TestUpload(t *testing.T) {
	for _, plain := range []bool{false, true} {
		var got string
		var body []byte
		take := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = fmt.Sprint(r.Method, " ", r.URL, " ", r.ContentLength, r.TransferEncoding, r.Header["Content-Type"], r.Header["Authorization"], r.Header["Cookie"], r.Header["Accept-Encoding"])
			body, _ = io.ReadAll(r.Body)
			w.WriteHeader(http.StatusCreated)
		})
		s := serve(t, take)
		if plain {
			s = httptest.NewServer(take)
			t.Cleanup(s.Close)
		}
		var roots *x509.CertPool
		if !plain {
			roots = rootsOf(s)
		}
		u := newUploader(fakeSlots{slot: place(s.URL)}, roots)
		link, err := u.Upload(t.Context(), me, picture(), bytes.NewReader(content))
		if err != nil || link != s.URL+"/get/x.png" {
			t.Fatalf("%q, %v", link, err)
		}
		want := fmt.Sprint("PUT /put/x.png?sig=s3cret ", len(content), []string(nil), []string{"image/png"}, []string{token}, []string{"a=1", "b=2"}, []string(nil))
		if diff := cmp.Diff(want, got); diff != "" || !bytes.Equal(body, content) {
			t.Errorf("%s, and %d bytes of %d", diff, len(body), len(content))
		}
		if n := testutil.ToFloat64(u.files.WithLabelValues("uploaded")); n != 1 {
			t.Errorf("%v are counted", n)
		}
	}
}

// check is true of every failure: it is of that kind, says what it has to, and tells no
// secret to anybody.
func check(t *testing.T, err error, kind fault.Kind, detail string) {
	t.Helper()
	f := fault.Of(err)
	if f.Kind != kind || !strings.Contains(f.Public, detail) || strings.ContainsAny(f.Public, "\r\n") || len(f.Public) > 450 {
		t.Errorf("%v %q, want %v and %q", f.Kind, f.Public, kind, detail)
	}
	if strings.Contains(f.Error(), "s3cret") || strings.Contains(f.Error(), "/put/") {
		t.Errorf("it tells %s", f)
	}
}

// TestAnswers: what the web server answers, and what comes of it.
func TestAnswers(t *testing.T) {
	answer := func(status int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<h1>evil</h1>")
		}
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   fault.Kind // Internal: none
		detail string
	}{
		{"created", answer(201), fault.Internal, ""},
		{"ok", answer(200), fault.Internal, ""},
		{"no content", answer(204), fault.Internal, ""},
		{"accepted, some time", answer(202), fault.Unavailable, "answered 202"},
		{"elsewhere", answer(307, "Location", "http://127.0.0.1:1/"), fault.Unavailable, "answered 307"},
		{"elsewhere, by GET", answer(303, "Location", "/"), fault.Unavailable, "answered 303"},
		{"who?", answer(401, "WWW-Authenticate", "Bearer"), fault.Unavailable, "answered 401"},
		{"gone", answer(410), fault.Unavailable, "answered 410"},
		{"too large", answer(413), fault.TooLarge, "client_max_body_size"},
		{"broken", answer(500), fault.Unavailable, "answered 500"},
		{"full", answer(507), fault.Unavailable, "answered 507"},
		{"a huge header", answer(201, "X", strings.Repeat("x", 2*maxHeader)), fault.Unavailable, "cannot be reached"},
		{"hangs up", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, fault.Unavailable, "cannot be reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests := 0
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				test.answer(w, r)
			})
			u := newUploader(fakeSlots{slot: place(s.URL)}, rootsOf(s))
			link, err := u.Upload(t.Context(), me, picture(), bytes.NewReader(content))
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
			if test.want == fault.Internal {
				if err != nil || link == "" {
					t.Errorf("%q, %v", link, err)
				}
				return
			}
			check(t, err, test.want, test.detail)
			if link != "" {
				t.Errorf("there is a link: %s", link)
			}
			if n := testutil.ToFloat64(u.files.WithLabelValues(outcomeOf(err))); n != 1 {
				t.Errorf("%v are counted", n)
			}
		})
	}
}

// TestUnreachable: nobody there, nobody who is trusted, nobody who answers.
func TestUnreachable(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a file came") })
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	for _, test := range []struct {
		name, url string
		roots     *x509.CertPool
		detail    string
	}{
		{"nobody", "https://127.0.0.1:1", nil, "127.0.0.1:1 cannot be reached (dial tcp 127.0.0.1:1: connect: connection refused)"},
		{"no such name", "https://upload.invalid", nil, "upload.invalid cannot be reached"},
		{"unknown authority", s.URL, nil, "cannot be trusted (tls: failed to verify certificate: x509: certificate signed by unknown authority): of a private CA, name its file as ca_file"},
		{"another's name", strings.Replace(s.URL, "127.0.0.1", "127.0.0.2", 1), rootsOf(s), "cannot be"},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), nil, "cannot be reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUploader(fakeSlots{slot: place(test.url)}, test.roots)
			_, err := u.Upload(t.Context(), me, picture(), bytes.NewReader(content))
			check(t, err, fault.Unavailable, test.detail)
		})
	}
	t.Run("no slot", func(t *testing.T) {
		u := newUploader(fakeSlots{err: fault.New(fault.Forbidden, "let it in")}, nil)
		_, err := u.Upload(t.Context(), me, picture(), bytes.NewReader(content))
		check(t, err, fault.Forbidden, "let it in")
		if n := testutil.ToFloat64(u.files.WithLabelValues("refused")); n != 1 {
			t.Errorf("%v are counted", n)
		}
	})
}

// TestSilence: a web server that takes the file and says nothing, and one that takes
// nothing.
func TestSilence(t *testing.T) {
	for name, reads := range map[string]bool{"takes it": true, "takes nothing": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				u := newUploader(fakeSlots{slot: place("http://127.0.0.1")}, nil)
				u.clients["example.com"].Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
				if reads {
					go func() { _, _ = io.Copy(io.Discard, theirs) }()
				}
				began := time.Now()
				_, err := u.Upload(t.Context(), me, picture(), bytes.NewReader(content))
				check(t, err, fault.Unavailable, "did not take the file in time")
				if took := time.Since(began); took > putWait {
					t.Errorf("it took %v", took)
				}
				_ = theirs.Close()
			})
		})
	}
}

// TestURLs: where no file goes, and what is no link.
func TestURLs(t *testing.T) {
	const fine = "https://upload.example.com/x.png"
	for _, test := range []struct {
		put, get, want string // in the refusal; "": none
	}{
		{fine, fine, ""},
		{fine + "?a=b&c=%20", fine + "#x", ""},
		{"https://[2001:db8::1]:5281/x", "http://files.example.com/x", ""},
		{"http://127.0.0.1:5280/x", fine, ""},
		{"http://127.1.2.3/x", fine, ""},
		{"http://[::1]:5280/x", fine, ""},
		{"http://localhost/x", fine, ""},
		{"https://upload.example.com/ä b.png", "https://upload.example.com/ä b.png", ""},
		{"http://upload.example.com:5280/x", fine, "at upload.example.com:5280: let its address begin with https"},
		{"http://192.0.2.1/x", fine, "by http without TLS"},
		{"http://127.0.0.1.example.com/x", fine, "by http without TLS"},
		{"http://localhost.example.com/x", fine, "by http without TLS"},
		{"", fine, "cannot be used"},
		{"/x", fine, "cannot be used"},
		{"//upload.example.com/x", fine, "cannot be used"},
		{"ftp://upload.example.com/x", fine, "cannot be used"},
		{"file:///etc/passwd", fine, "cannot be used"},
		{"https:upload.example.com", fine, "cannot be used"},
		{"https://:443/x", fine, "cannot be used"},
		{"https://me:secret@upload.example.com/x", fine, "cannot be used"},
		{"https://upload.example.com/\r\nHost: x", fine, "cannot be used"},
		{"https://uplöad.example.com/x", fine, "cannot be used"},
		{fine, "", "cannot be used"},
		{fine, "javascript:alert(1)", "cannot be used"},
		{fine, "https://upload.example.com/x?a b", "cannot be used"},
		{fine, "https://upload.example.com/x\n", "cannot be used"},
		{fine, "https://me@upload.example.com/x", "cannot be used"},
		{fine, "xmpp:me@example.com", "cannot be used"},
	} {
		_, get, err := Slot{Service: "upload.example.com", Put: test.put, Get: test.get}.check()
		if test.want == "" {
			if err != nil || get == "" {
				t.Errorf("%s, %s: %v", test.put, test.get, err)
			}
			continue
		}
		if check(t, err, fault.Unavailable, test.want); get != "" {
			t.Errorf("%s, %s: there is a link: %s", test.put, test.get, get)
		}
	}
}

// FuzzURLs: what is written to has TLS or stays here, and what is sent is a link.
func FuzzURLs(f *testing.F) {
	f.Add("https://upload.example.com:5281/x.png", "https://upload.example.com/ä b.png")
	f.Add("http://[::ffff:127.0.0.1]/", "http://x/?%zz#")
	f.Add("http://127.0.0.1@example.com/", "HTTPS://x\\y")
	f.Fuzz(func(t *testing.T, put, get string) {
		target, link, err := Slot{Put: put, Get: get}.check()
		if err != nil {
			return
		}
		if target.Scheme != "https" && !(target.Scheme == "http" && isLoopback(target.Hostname())) || target.User != nil {
			t.Errorf("the file would go to %s", target)
		}
		again, err := url.Parse(link)
		if err != nil || again.Scheme != "https" && again.Scheme != "http" || again.Hostname() == "" || message.CheckText(link) != nil || strings.ContainsAny(link, " \t\r\n") {
			t.Errorf("%q is no link: %v", link, err)
		}
	})
}

// TestMemory: a file does not pass through memory as a whole.
func TestMemory(t *testing.T) {
	const size = 32 << 20
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	u := newUploader(fakeSlots{slot: place(s.URL)}, rootsOf(s))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := u.Upload(t.Context(), me, message.File{Name: "x", Type: "x/y", Size: size}, zeros{})
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err != nil || used > size/4 { // TLS of both sides is in it
		t.Errorf("%d bytes were taken for a file of %d, %v", used, size, err)
	}
}

// zeros are without end.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
