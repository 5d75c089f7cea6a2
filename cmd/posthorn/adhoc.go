package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"posthorn/component"
	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/store"
	"posthorn/internal/token"
)

// A clerk manages the tokens of those who give the component commands from their
// own XMPP clients.
type clerk struct {
	store   *store.Store
	maySend func(message.JID) bool
	log     *slog.Logger
}

func (c *config) commands(s *store.Store, log *slog.Logger) []component.Command {
	k := &clerk{store: s, maySend: c.maySend, log: log}
	return []component.Command{
		{Node: "token-create", Name: "Make a token", Form: k.askToken, Run: k.makeToken},
		{Node: "token-list", Name: "List my tokens", Run: k.listTokens},
		{Node: "token-revoke", Name: "Revoke tokens", Form: k.askRevoked, Run: k.revokeTokens},
	}
}

// maySend is what policy.senders says.
func (c *config) maySend(account message.JID) bool {
	return len(c.Policy.Senders) == 0 || account.In(c.Policy.Senders)
}

// mayNot is for those whose tokens would be refused.
func (k *clerk) mayNot(owner message.JID) error {
	if k.maySend(owner) {
		return nil
	}
	return fault.New(fault.Forbidden, "%s may not send: policy.senders lists who may", owner)
}

func (k *clerk) askToken(_ context.Context, owner message.JID) (component.Form, error) {
	return component.Form{
		Title:        "Make a token",
		Instructions: "With a token, programs send messages in your name and need no password. It is shown once.",
		Fields: []component.Field{
			{Var: "name", Label: "Name, for you to know it by, such as backup@db1", Type: component.TextSingle, Required: true},
			{Var: "expires", Label: "Expires after (90d, 12h) or on (2027-01-31)", Type: component.TextSingle, Values: []string{"90d"}},
			{Var: "recipients", Label: "Only to these: a JID, a room or a domain a line; none: to anybody", Type: component.TextMulti},
			{Var: "networks", Label: "Only from these addresses or networks, one a line; none: from anywhere", Type: component.TextMulti},
		},
	}, k.mayNot(owner)
}

func (k *clerk) makeToken(ctx context.Context, owner message.JID, values map[string][]string) (component.Form, error) {
	if err := k.mayNot(owner); err != nil {
		return component.Form{}, err
	}
	request := token.Request{Name: first(values["name"]), Life: first(values["expires"]), Recipients: values["recipients"], Networks: values["networks"]}
	t, text, err := request.Make(owner, time.Now())
	if err == nil {
		err = k.store.AddToken(ctx, t)
	}
	if err != nil {
		return component.Form{}, err
	}
	k.log.Info("a token was made", "jid", owner, "id", t.Name)
	return component.Form{
		Title: "The token " + t.Name,
		Note:  "The token is shown this once: put it where it is needed now. Whoever has it can send in your name.",
		Fields: []component.Field{
			{Var: "token", Label: "Token", Type: component.TextSingle, Values: []string{text.Reveal()}},
			{Var: "expires", Label: "Expires", Type: component.TextSingle, Values: []string{moment(t.Expires)}},
		},
	}, nil
}

func (k *clerk) listTokens(ctx context.Context, owner message.JID, _ map[string][]string) (component.Form, error) {
	tokens, err := k.store.Tokens(ctx, owner)
	if len(tokens) == 0 {
		return component.Form{Note: "You have no tokens."}, err
	}
	form := component.Form{Title: "Your tokens"}
	for i := range tokens {
		form.Fields = append(form.Fields, component.Field{Var: tokens[i].Name, Label: tokens[i].Name, Type: component.TextMulti, Values: tokenInWords(&tokens[i])})
	}
	return form, err
}

// tokenInWords describes one in a few lines, of which a hundred fit into a stanza.
func tokenInWords(t *token.Token) []string {
	lines := []string{"made " + moment(t.Created), "expires " + moment(t.Expires), "never used"}
	if !t.Used.IsZero() {
		lines[2] = "last used " + moment(t.Used)
	}
	if limits := limitsInWords(t.Limits); limits != "" {
		lines = append(lines, fmt.Sprintf("only for %.500s", limits))
	}
	return lines
}

func (k *clerk) askRevoked(ctx context.Context, owner message.JID) (component.Form, error) {
	tokens, err := k.store.Tokens(ctx, owner)
	if len(tokens) == 0 {
		return component.Form{}, err
	}
	names := make([]string, len(tokens))
	for i := range tokens {
		names[i] = tokens[i].Name
	}
	return component.Form{
		Title:        "Revoke tokens",
		Instructions: "What you choose is refused from now on.",
		Fields:       []component.Field{{Var: "tokens", Label: "Tokens", Type: component.ListMulti, Required: true, Options: names}},
	}, err
}

func (k *clerk) revokeTokens(ctx context.Context, owner message.JID, values map[string][]string) (component.Form, error) {
	var revoked []string
	for _, name := range values["tokens"] {
		found, err := k.store.RevokeToken(ctx, owner, name)
		if err != nil {
			return component.Form{}, err
		}
		if found {
			k.log.Info("a token was revoked", "jid", owner, "id", name)
			revoked = append(revoked, name)
		}
	}
	if len(revoked) == 0 {
		return component.Form{Note: "You have no tokens."}, nil
	}
	return component.Form{Note: "Revoked: " + strings.Join(revoked, ", ")}, nil
}

// first is the value of a field that has one at most.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func moment(t time.Time) string { return seconds(t).Format(time.RFC3339) }
