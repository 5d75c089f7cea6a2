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
	RevokeToken(ctx context.Context, owner message.JID, name string) (found bool, err error)
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
	x.endAmbiguity()
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
	found, err := x.tokens.RevokeToken(x.r.Context(), x.from, name)
	switch {
	case err != nil:
		return asFault(err)
	case !found:
		return fault.New(fault.NoSuchPage, "you have no token of this name")
	}
	x.options.Log.Info("a token was revoked", "jid", x.from, "id", name)
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
	request, err := readToken(body)
	if err != nil {
		return err
	}
	t, text, err := request.Make(x.from, time.Now())
	if err != nil {
		return err
	}
	if err := x.tokens.AddToken(x.r.Context(), t); err != nil {
		return asFault(err)
	}
	x.options.Log.Info("a token was made", "jid", t.Owner, "id", t.Name)
	x.reply(http.StatusCreated, "application/json", show(&t, text.Reveal()))
	return nil
}

// readToken reads what a token is to be. Here a member that is unknown is a mistake:
// it may be a limit, misspelled. So is an empty list, of which nobody knows whether
// it allows all or none.
func readToken(body []byte) (r token.Request, err error) {
	members, err := readObject(string(body))
	if err != nil {
		return r, err
	}
	var signing string
	places := map[string]any{"name": &r.Name, "expires": &r.Life, "recipients": &r.Recipients, "templates": &r.Templates,
		"networks": &r.Networks, "rate": &r.Rate, "signing_secret": &signing}
	for name := range members {
		place, known := places[name]
		switch value := members.given(name); {
		case !known:
			return r, fault.New(fault.Unsendable, "%s: is no field of a token: name, expires, recipients, templates, networks, rate and signing_secret are", shorten(name))
		case value == nil:
		case json.Unmarshal(value, place) != nil:
			return r, fault.New(fault.Unsendable, "%s: is of the wrong shape: lists are of strings, rate is a number, the rest are strings", name)
		}
		if list, ok := place.(*[]string); ok && *list != nil && len(*list) == 0 {
			return r, fault.New(fault.Unsendable, "%s: is empty: leave it out where there is no such limit", name)
		}
	}
	r.Signing = secret.New(signing)
	return r, nil
}
