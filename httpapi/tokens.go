package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// A tokenKeeper is where tokens are kept.
type tokenKeeper interface {
	AddToken(ctx context.Context, t token.Token) error
	Tokens(ctx context.Context, owner message.JID) ([]token.Token, error)
	RevokeTokens(ctx context.Context, owner message.JID, name string) (n int, err error)
}

// shownToken is what an owner is shown of a token. Token is its text, which is
// shown once.
type shownToken struct {
	Name    string     `json:"name"`
	Token   string     `json:"token,omitempty"`
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"`
	Used    *time.Time `json:"used,omitempty"` // within the hour
	Signed  bool       `json:"signed,omitempty"`
	token.Limits
}

func show(t *token.Token, text string) shownToken {
	s := shownToken{Name: t.Name, Token: text, Created: t.Created.UTC(), Expires: t.Expires.UTC(), Signed: !t.Signing.Empty(), Limits: t.Limits}
	if !t.Used.IsZero() {
		used := t.Used.UTC()
		s.Used = &used
	}
	return s
}

// owner proves whose tokens a request is about. A page of another origin has no
// business here, whatever cors_origins says, and a token cannot make more of it.
func (x *exchange) owner() error {
	if err := x.foreign.Check(x.r); err != nil || x.r.Header.Get("Origin") != "" && x.originAllowed() {
		return fault.Wrap(err, fault.Forbidden, "a page of another origin may not manage tokens")
	}
	if x.tokens == nil {
		return fault.New(fault.NoSuchPage, "there are no tokens here: the administrator has to configure a store for them")
	}
	c, err := x.credential()
	switch {
	case err != nil:
		return err
	case c.token:
		return fault.New(fault.Forbidden, "a token cannot manage tokens: use the password of the account")
	}
	return x.identify(c)
}

// manageTokens answers the pages of tokens.
func (x *exchange) manageTokens(t target) error {
	if err := x.checkSize(); err != nil {
		return err
	}
	if err := x.owner(); err != nil {
		return err
	}
	switch {
	case t.page == tokenPage:
		return x.revokeToken(t.id)
	case x.r.Method == http.MethodPost:
		return x.makeToken()
	}
	return x.listTokens()
}

func (x *exchange) listTokens() error {
	tokens, err := x.tokens.Tokens(x.r.Context(), x.from)
	if err != nil {
		return asFault(err)
	}
	list := make([]shownToken, len(tokens))
	for i := range tokens {
		list[i] = show(&tokens[i], "")
	}
	x.reply(http.StatusOK, "application/json", map[string]any{"tokens": list})
	return nil
}

func (x *exchange) revokeToken(name string) error {
	n, err := x.tokens.RevokeTokens(x.r.Context(), x.from, name)
	switch {
	case err != nil:
		return asFault(err)
	case n == 0:
		return fault.New(fault.NoSuchPage, "you have no token of this name")
	}
	x.status = http.StatusNoContent
	x.w.WriteHeader(x.status)
	return nil
}

func (x *exchange) makeToken() error {
	if err := x.checkCoding(); err != nil {
		return err
	}
	body, err := x.readBody()
	if err != nil {
		return err
	}
	t, err := readToken(body, time.Now())
	if err != nil {
		return err
	}
	text := token.New()
	t.Owner, t.Hash = x.from, token.Hash(text)
	if err := x.tokens.AddToken(x.r.Context(), t); err != nil {
		return asFault(err)
	}
	x.options.Log.Info("a token was made", "jid", t.Owner, "id", t.Name)
	x.reply(http.StatusCreated, "application/json", show(&t, text.Reveal()))
	return nil
}

// readToken reads what a token is to be. Here a member that is unknown is a mistake:
// it may be a limit, misspelled.
func readToken(body []byte, now time.Time) (t token.Token, err error) {
	members, err := readObject(string(body))
	if err != nil {
		return t, err
	}
	var life, signing string
	var networks []string
	places := map[string]any{"name": &t.Name, "expires": &life, "recipients": &t.Recipients, "templates": &t.Templates,
		"networks": &networks, "rate": &t.Rate, "signing_secret": &signing}
	for name := range members {
		place, known := places[name]
		switch value := members.given(name); {
		case !known:
			return t, fault.New(fault.Unsendable, "%s: is no field of a token: name, expires, recipients, templates, networks, rate and signing_secret are", shorten(name))
		case value != nil && json.Unmarshal(value, place) != nil:
			return t, fault.New(fault.Unsendable, "%s: is of the wrong shape: lists are of strings, rate is a number, the rest are strings", name)
		}
	}
	t.Created, t.Signing = now.Truncate(time.Second), secret.New(signing)
	if t.Expires, err = token.ParseLife(life, t.Created); err != nil {
		return t, fault.New(fault.Unsendable, "%v", err)
	}
	for _, network := range networks {
		n, err := token.ParseNetwork(network)
		if err != nil {
			return t, fault.New(fault.Unsendable, "%v", err)
		}
		t.Networks = append(t.Networks, n)
	}
	if err := t.Check(now); err != nil {
		return t, fault.New(fault.Unsendable, "%v", err)
	}
	return t, nil
}
