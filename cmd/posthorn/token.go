package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/store"
	"posthorn/internal/token"
)

// #nosec G101 -- a help text
const tokenUsage = `usage: posthorn token create --for JID --name NAME [--expires 90d]
           [--recipient JID|DOMAIN]... [--network ADDRESS|NETWORK]...
           [--template NAME]... [--rate MESSAGES-A-SECOND]
           [--signing-secret-file FILE]
       posthorn token list [--jid JID] [--json]
       posthorn token revoke --jid JID [--name NAME]
`

// tokenFlags are what the command token is told.
type tokenFlags struct {
	owner, jid string
	request    token.Request
}

func (f *tokenFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&f.owner, "for", "", "")
	flags.StringVar(&f.jid, "jid", "", "")
	r := &f.request
	flags.StringVar(&r.Name, "name", "", "")
	flags.StringVar(&r.Life, "expires", "", "")
	flags.Float64Var(&r.Rate, "rate", 0, "")
	flags.Func("signing-secret-file", "", func(file string) error {
		text, err := os.ReadFile(file) // #nosec G304 -- who runs posthorn names it
		r.Signing = secret.New(strings.TrimRight(string(text), "\r\n"))
		return err
	})
	for name, list := range map[string]*[]string{"recipient": &r.Recipients, "template": &r.Templates, "network": &r.Networks} {
		flags.Func(name, "", func(s string) error { *list = append(*list, s); return nil })
	}
}

// manageTokens makes, lists and revokes tokens, in the database of the service,
// which may be running meanwhile.
func manageTokens(ctx context.Context, p *program) int {
	verb := ""
	if len(p.args) == 1 {
		verb = p.args[0]
	}
	f := &p.tokenFlags
	do := map[string]func(context.Context, *store.Store) error{"create": p.createToken, "list": p.listTokens, "revoke": p.revokeTokens}[verb]
	if do == nil || verb == "create" && (f.owner == "" || f.request.Name == "") || verb == "revoke" && f.jid == "" || verb != "create" && f.owner != "" {
		fmt.Fprint(p.stderr, tokenUsage)
		return exitUsage
	}
	if err := p.withStore(ctx, func(s *store.Store) error { return do(ctx, s) }); err != nil {
		fmt.Fprintln(p.stderr, "posthorn: token:", err)
		return exitFailed
	}
	return exitOK
}

// createToken prints the token alone on standard output, for scripts.
func (p *program) createToken(ctx context.Context, s *store.Store) error {
	owner, err := p.ownerOf(p.tokenFlags.owner)
	if err != nil {
		return err
	}
	t, text, err := p.tokenFlags.request.Make(owner, time.Now())
	if err != nil {
		return err
	}
	if err := s.AddToken(ctx, t); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, text.Reveal())
	return nil
}

// ownerOf reads an account of one of the hosts.
func (p *program) ownerOf(written string) (message.JID, error) {
	owner, err := message.ParseAccount(written)
	if err != nil {
		return "", fmt.Errorf("%q %w", written, err)
	}
	for _, domain := range p.config.domains() {
		if owner.Domain() == domain {
			return owner, nil
		}
	}
	return "", fmt.Errorf("%s is on none of auth.hosts", owner)
}

func (p *program) listTokens(ctx context.Context, s *store.Store) error {
	owner := message.JID("")
	if p.tokenFlags.jid != "" {
		var err error
		if owner, err = message.ParseAccount(p.tokenFlags.jid); err != nil {
			return fmt.Errorf("%q %w", p.tokenFlags.jid, err)
		}
	}
	tokens, err := s.Tokens(ctx, owner)
	if err != nil {
		return err
	}
	if p.json {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetEscapeHTML(false)
		for i := range tokens {
			_ = encoder.Encode(shownTokenOf(&tokens[i]))
		}
		return nil
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "OWNER\tNAME\tCREATED\tEXPIRES\tUSED\tLIMITS")
	for i := range tokens {
		t := shownTokenOf(&tokens[i])
		used := "-"
		if t.Used != nil {
			used = t.Used.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", visible(string(t.Owner)), visible(t.Name), t.Created.Format(time.RFC3339), t.Expires.Format(time.RFC3339), used, visible(limitsInWords(t.Limits)))
	}
	return table.Flush()
}

// A shownToken is what the administrator is shown of a token.
type shownToken struct {
	Owner   message.JID `json:"owner"`
	Name    string      `json:"name"`
	Created time.Time   `json:"created"`
	Expires time.Time   `json:"expires"`
	Used    *time.Time  `json:"used,omitempty"`
	token.Limits
}

func shownTokenOf(t *token.Token) shownToken {
	s := shownToken{Owner: t.Owner, Name: t.Name, Created: seconds(t.Created), Expires: seconds(t.Expires), Limits: t.Limits}
	if !t.Used.IsZero() {
		used := seconds(t.Used)
		s.Used = &used
	}
	return s
}

func limitsInWords(l token.Limits) string {
	var words []string
	words = append(words, l.Recipients...)
	for _, name := range l.Templates {
		words = append(words, "hook/"+name)
	}
	for _, n := range l.Networks {
		words = append(words, "from "+networkInWords(n))
	}
	if l.Rate > 0 {
		words = append(words, fmt.Sprintf("%g/s", l.Rate))
	}
	return strings.Join(words, ", ")
}

func networkInWords(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

func (p *program) revokeTokens(ctx context.Context, s *store.Store) error {
	owner, err := message.ParseAccount(p.tokenFlags.jid)
	if err != nil {
		return fmt.Errorf("%q %w", p.tokenFlags.jid, err)
	}
	n, err := revoke(ctx, s, owner, p.tokenFlags.request.Name)
	switch {
	case err != nil:
		return err
	case n == 0:
		return errors.New("there is no such token")
	}
	fmt.Fprintf(p.stdout, "%d revoked\n", n)
	return nil
}

// revoke ends an owner's token of that name, or all of theirs where it is empty.
func revoke(ctx context.Context, s *store.Store, owner message.JID, name string) (n int, err error) {
	if name == "" {
		return s.RevokeTokens(ctx, owner)
	}
	found, err := s.RevokeToken(ctx, owner, name)
	if found {
		n = 1
	}
	return n, err
}
