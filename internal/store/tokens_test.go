package store

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// alike compares what tokens hold, their secrets too.
var alike = cmp.Options{
	cmp.Comparer(func(a, b secret.Value) bool { return a.Reveal() == b.Reveal() }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func madeToken(t *testing.T, owner message.JID, r token.Request, now time.Time) (token.Token, string) {
	t.Helper()
	made, text, err := r.Make(owner, now)
	if err != nil {
		t.Fatal(err)
	}
	return made, text.Reveal()
}

// TestTokens: what is put in comes out, also after a restart, and nothing of the
// token's text is on disk.
func TestTokens(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir+"/a.db")
	now := time.Now()
	a, text := madeToken(t, "me@example.com", token.Request{
		Name: "a", Life: "2d", Recipients: []string{"user@example.com"}, Templates: []string{"github"}, Networks: []string{"192.0.2.0/24", "2001:db8::1"}, Rate: 0.5, Signing: secret.New("signing"),
	}, now)
	b, _ := madeToken(t, "me@example.com", token.Request{Name: "b"}, now)
	c, _ := madeToken(t, "you@example.com", token.Request{Name: "a"}, now)
	for _, one := range []token.Token{b, a, c} {
		if err := s.AddToken(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	at := now.Truncate(time.Hour)
	if err := s.UseToken(t.Context(), a.Hash, at); err != nil {
		t.Fatal(err)
	}
	a.Used = at
	stop()
	for file, err := range files(dir) {
		if err != nil || bytes.Contains(file, []byte(text)) || bytes.Contains(file, []byte(text[3:])) {
			t.Errorf("the token stands on the disk, or %v", err)
		}
	}

	s, _ = running(t, dir+"/a.db")
	for owner, want := range map[message.JID][]token.Token{"me@example.com": {a, b}, "you@example.com": {c}, "": {a, b, c}, "nobody@example.com": nil} {
		got, err := s.Tokens(t.Context(), owner)
		if diff := cmp.Diff(want, got, alike); diff != "" || err != nil {
			t.Errorf("Tokens(%q): %v\n%s", owner, err, diff)
		}
	}
	got, err := s.FindToken(t.Context(), token.Hash(secret.New(text)))
	if diff := cmp.Diff(&a, got, alike); diff != "" || err != nil {
		t.Errorf("FindToken: %v\n%s", err, diff)
	}
	for _, hash := range []string{"", text, a.Hash[:63], a.Hash + "0", "%"} {
		if got, err := s.FindToken(t.Context(), hash); got != nil || err != nil {
			t.Errorf("FindToken(%q) = %v, %v", hash, got, err)
		}
	}
}

// files gives what the files in dir hold.
func files(dir string) func(func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		names, _ := filepath.Glob(dir + "/*")
		for _, name := range names {
			if !yield(os.ReadFile(name)) {
				return
			}
		}
	}
}

// TestTokenConflicts: a name is one owner's once, and owners have few.
func TestTokenConflicts(t *testing.T) { each(t, testTokenConflicts) }

func testTokenConflicts(t *testing.T, at string) {
	s, _ := running(t, at)
	now := time.Now()
	add := func(owner message.JID, name, life string, at time.Time) error {
		one, _ := madeToken(t, owner, token.Request{Name: name, Life: life}, at)
		return s.AddToken(t.Context(), one)
	}
	kind := func(err error) fault.Kind {
		if err == nil {
			return -1
		}
		return fault.Of(err).Kind
	}
	for i := range token.MaxPerOwner {
		if err := add("me@example.com", fmt.Sprint(i), "", now); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		owner message.JID
		name  string
		want  fault.Kind
	}{
		{"me@example.com", "0", fault.Conflict},
		{"me@example.com", "one more", fault.Unsendable},
		{"you@example.com", "0", -1},
		{"you@example.com", "0", fault.Conflict},
	} {
		if got := kind(add(test.owner, test.name, "", now)); got != test.want {
			t.Errorf("AddToken(%s, %s) is %v, want %v", test.owner, test.name, got, test.want)
		}
	}
	if found, err := s.RevokeToken(t.Context(), "me@example.com", "0"); !found || err != nil {
		t.Fatal(found, err)
	}
	if err := add("me@example.com", "0", "", now); err != nil {
		t.Errorf("after one was revoked: %v", err)
	}
}

// TestTokensRevoked: what is revoked is gone at once, and nobody else's with it.
func TestTokensRevoked(t *testing.T) { each(t, testTokensRevoked) }

func testTokensRevoked(t *testing.T, at string) {
	s, _ := running(t, at)
	now := time.Now()
	var hashes []string
	for _, owner := range []message.JID{"me@example.com", "you@example.com"} {
		for _, name := range []string{"a", "b", "c"} {
			one, _ := madeToken(t, owner, token.Request{Name: name}, now)
			if err := s.AddToken(t.Context(), one); err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, one.Hash)
		}
	}
	left := func() (n int) {
		for _, hash := range hashes {
			if found, err := s.FindToken(t.Context(), hash); err != nil {
				t.Fatal(err)
			} else if found != nil {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		owner message.JID
		name  string
		found bool
		left  int
	}{
		{"me@example.com", "a", true, 5},
		{"me@example.com", "a", false, 5},
		{"me@example.com", "", false, 5},
		{"me@example.com", "%", false, 5},
		{"nobody@example.com", "b", false, 5},
		{"me@example.com", "b", true, 4},
	} {
		if found, err := s.RevokeToken(t.Context(), step.owner, step.name); found != step.found || err != nil || left() != step.left {
			t.Errorf("RevokeToken(%s, %q) = %v, %v, and %d are left", step.owner, step.name, found, err, left())
		}
	}
	for _, want := range []int{3, 0} {
		if n, err := s.RevokeTokens(t.Context(), "you@example.com"); n != want || err != nil || left() != 1 {
			t.Errorf("RevokeTokens() = %d, %v, and %d are left", n, err, left())
		}
	}
}

// TestTokensForgotten: an expired token is known for a month, for its owner to see, and
// then forgotten.
func TestTokensForgotten(t *testing.T) { each(t, testTokensForgotten) }

func testTokensForgotten(t *testing.T, at string) {
	s, _ := running(t, at)
	start := time.Now().Add(-365 * 24 * time.Hour)
	for _, step := range []struct {
		name string
		at   time.Duration
		want int
	}{
		{"a", 0, 1},
		{"b", 24*time.Hour + goneAfter - time.Minute, 2},
		{"c", 24*time.Hour + goneAfter + time.Minute, 2},
	} {
		one, _ := madeToken(t, "me@example.com", token.Request{Name: step.name, Life: "1d"}, start.Add(step.at))
		if err := s.AddToken(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		if known, err := s.Tokens(t.Context(), ""); len(known) != step.want || err != nil {
			t.Errorf("with %s there are %d, %v", step.name, len(known), err)
		}
	}
}

// TestTokensStopped: a store that has ended answers, and says that it cannot.
func TestTokensStopped(t *testing.T) { each(t, testTokensStopped) }

func testTokensStopped(t *testing.T, at string) {
	s, stop := running(t, at)
	stop()
	one, _ := madeToken(t, "me@example.com", token.Request{Name: "a"}, time.Now())
	_, found := s.FindToken(t.Context(), one.Hash)
	_, listed := s.Tokens(t.Context(), "")
	for name, err := range map[string]error{"FindToken": found, "Tokens": listed} {
		if err == nil || fault.Of(err).Kind != fault.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
