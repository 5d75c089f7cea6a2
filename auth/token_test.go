package auth

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// memory keeps tokens by their hashes.
type memory struct {
	tokens map[string]token.Token
	err    error // of both functions
	uses   int
}

func (m *memory) FindToken(_ context.Context, hash string) (*token.Token, error) {
	t, found := m.tokens[hash]
	if !found || m.err != nil {
		return nil, m.err
	}
	return &t, nil
}

func (m *memory) UseToken(_ context.Context, hash string, at time.Time) error {
	m.uses++
	t := m.tokens[hash]
	t.Used = at
	m.tokens[hash] = t
	return m.err
}

// add makes a token of that life.
func (m *memory) add(t *testing.T, owner message.JID, life string) secret.Value {
	t.Helper()
	made, text, err := token.Request{Name: "name", Life: life}.Make(owner, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.tokens[made.Hash] = made
	return text
}

func tokenRig(t *testing.T) (*rig, *memory) {
	m := &memory{tokens: make(map[string]token.Token)}
	return newRig(t, DirectTLS, func(*peer) { t.Error("the server was asked") }, func(o *Options) { o.Tokens = m }), m
}

// TestTokenRefused: whatever is wrong with a token, it is the same answer at the time
// of that to a wrong password, and stands nowhere.
func TestTokenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := tokenRig(t)
		mine, short, elsewhere, revoked := m.add(t, "me@example.com", ""), m.add(t, "me@example.com", "1h"), m.add(t, "me@other.example", ""), m.add(t, "me@example.com", "")
		delete(m.tokens, token.Hash(revoked))
		time.Sleep(time.Hour)
		for _, try := range []struct {
			name, user string
			text       secret.Value
		}{
			{"unknown", "", secret.New("ph_" + strings.Repeat("A", 43))},
			{"no token", "", secret.New("password")},
			{"empty", "me@example.com", secret.New("")},
			{"revoked", "", revoked},
			{"expired, to the second", "", short},
			{"another account's", "you@example.com", mine},
			{"the same name elsewhere", "me@other.example", mine},
			{"of a host that is not served", "", elsewhere},
			{"of a host that is not served, named", "me@other.example", elsewhere},
			{"with a name that is none", "a b\n<script>" + strings.Repeat("x", 1000), mine},
		} {
			began := time.Now()
			got, err := r.VerifyToken(t.Context(), try.user, try.text, netip.Addr{})
			if took := time.Since(began); kindOf(err) != fault.Unauthenticated || got != nil || took != refusalStep ||
				fault.Of(err).Public != "the token is unknown, revoked or expired, or another account's" {
				t.Errorf("%s: %v, %v after %v", try.name, got, err, took)
			}
		}
		log := r.log.String()
		if n := strings.Count(log, `msg="login failed" jid=`); n != 10 || strings.Contains(log, "script") {
			t.Errorf("%d lines about a failed login:\n%s", n, log)
		}
		for _, text := range []secret.Value{mine, short, elsewhere, revoked} {
			if strings.Contains(log, text.Reveal()) || strings.Contains(log, token.Hash(text)) {
				t.Errorf("a token stands in the log:\n%s", log)
			}
		}
		if m.uses != 0 {
			t.Errorf("%d uses of what was refused are noted", m.uses)
		}
	})
}

// TestTokenVerified: at once, by the store alone, and for its owner in any form.
func TestTokenVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := tokenRig(t)
		mine := m.add(t, "me@example.com", "1h")
		time.Sleep(time.Hour - time.Nanosecond)
		for _, user := range []string{"", "me", "me@example.com", "Me@Example.COM/phone"} {
			began := time.Now()
			got, err := r.VerifyToken(t.Context(), user, mine, netip.Addr{})
			if err != nil || got.Owner != "me@example.com" || time.Since(began) != 0 {
				t.Errorf("%q: %v, %v after %v", user, got, err, time.Since(began))
			}
		}
		delete(m.tokens, token.Hash(mine))
		if _, err := r.VerifyToken(t.Context(), "", mine, netip.Addr{}); kindOf(err) != fault.Unauthenticated {
			t.Errorf("revoked a moment ago: %v", err)
		}
	})
}

// TestTokenUses: that a token is used is noted once an hour, and one whose use cannot
// be noted is used all the same.
func TestTokenUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := tokenRig(t)
		mine := m.add(t, "me@example.com", "")
		for n, step := range []time.Duration{0, time.Minute, 58 * time.Minute, 2 * time.Minute, 30 * time.Minute, 24 * time.Hour} {
			time.Sleep(step)
			if _, err := r.VerifyToken(t.Context(), "", mine, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
			if want := []int{1, 1, 1, 2, 2, 3}[n]; m.uses != want {
				t.Errorf("after use %d: noted %d times, want %d", n, m.uses, want)
			}
			if used := m.tokens[token.Hash(mine)].Used; used != time.Now().Truncate(time.Hour) {
				t.Errorf("after use %d: used at %v", n, used)
			}
		}
	})
}

// TestTokenStore: a store that fails says nothing about a token, and without one there
// are none.
func TestTokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := tokenRig(t)
		mine := m.add(t, "me@example.com", "")
		m.err = fault.Wrap(errors.New("disk full"), fault.Unavailable, "the database fails")
		if _, err := r.VerifyToken(t.Context(), "me", mine, netip.Addr{}); kindOf(err) != fault.Unavailable {
			t.Errorf("a store that fails: %v", err)
		}
		none := newRig(t, DirectTLS, nil)
		if _, err := none.VerifyToken(t.Context(), "me", mine, netip.Addr{}); kindOf(err) != fault.Unauthenticated {
			t.Errorf("no store: %v", err)
		}
	})
}
