package auth

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// A tokens is where tokens are kept. Find gives nil where there is none of the
// hash.
type tokens interface {
	FindToken(ctx context.Context, hash string) (*token.Token, error)
	UseToken(ctx context.Context, hash string, at time.Time) error
}

// usedStep is how exactly it is known when a token was last used: each use would
// be a write otherwise.
const usedStep = time.Hour

// VerifyToken gives the token of a text, which speaks for its owner; user is whom
// its holder says that is, or empty. The error is a *fault.Error as Verify's. The
// store is asked each time, so that a token that is revoked is refused at once. A
// wrong one counts as a wrong password; a right one passes, whoever guesses.
func (v *Verifier) VerifyToken(ctx context.Context, user string, text secret.Value, client netip.Addr) (*token.Token, error) {
	began := time.Now()
	if v.tokens == nil {
		return nil, fault.New(fault.Unauthenticated, "there are no tokens here: the administrator has to configure a store for them")
	}
	t, err := v.tokens.FindToken(ctx, token.Hash(text))
	if err != nil {
		return nil, err
	}
	account := message.JID("") // whom the holder names
	if user != "" {
		account, err = v.account(user)
	}
	if err != nil || t == nil || !t.Valid(began) || user != "" && account != t.Owner || !v.serves(t.Owner) {
		var slow *throttledError
		if errors.As(v.throttle.take(account, networkOf(client)), &slow) {
			return nil, tooMany(slow)
		}
		v.throttle.tell(account, networkOf(client))
		return nil, v.failed(ctx, began, account, client, "the token is unknown, revoked or expired, or another account's")
	}
	if began.Sub(t.Used) >= usedStep {
		if err := v.tokens.UseToken(ctx, t.Hash, began.Truncate(usedStep)); err != nil {
			v.log.Debug("the use of a token was not noted", "jid", t.Owner, "err", err)
		}
	}
	return t, nil
}

// serves reports whether an account is still on one of the hosts.
func (v *Verifier) serves(account message.JID) bool {
	_, served := v.hosts[account.Domain()]
	return served
}
