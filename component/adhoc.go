package component

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// A Command is what the accounts of Options.Hosts can do from their own clients,
// by an ad-hoc command (XEP-0050, version 1.3.0). Who asks is known by the address
// that their server put on the question, and by nothing else. Both functions may
// take their time; an error of theirs that is a *fault.Error is told.
type Command struct {
	Node string // names it
	Name string // for people
	// Form asks for what Run needs. Where it is nil, or gives no fields, there is
	// nothing to ask.
	Form func(ctx context.Context, owner message.JID) (Form, error)
	// Run does it and gives what is shown of it. The values are those of the form's
	// fields, each of the shape that its type has.
	Run func(ctx context.Context, owner message.JID, values map[string][]string) (Form, error)
}

const (
	nsCommands = "http://jabber.org/protocol/commands"

	maxWork     = 16               // commands at once: each waits for a disk
	workTimeout = 10 * time.Second // for one
	sessionLife = 15 * time.Minute // between a form and its submission
)

// A desk is where commands are done, at most one at a time for one account, so
// that nobody takes every place.
//
// Nothing is remembered of a session (XEP-0050 §3.3) between its stages, so that a
// million forms that nobody fills in cost nothing: its id is a code that only we can
// make, of whose it is, which command, and when it began.
type desk struct {
	commands []Command // immutable after New
	key      [sha256.Size]byte

	mu   sync.Mutex
	busy map[message.JID]struct{} // guarded by mu: whose command is being done
}

func (d *desk) find(node string) *Command {
	i := slices.IndexFunc(d.commands, func(c Command) bool { return c.Node == node })
	if i < 0 {
		return nil
	}
	return &d.commands[i]
}

// enter gives an account a place; without one, it has to wait.
func (d *desk) enter(owner message.JID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, at := d.busy[owner]; at || len(d.busy) == maxWork {
		return false
	}
	d.busy[owner] = struct{}{}
	return true
}

func (d *desk) leave(owner message.JID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, owner)
}

// sessionID makes the id of a session that a full JID began.
func (d *desk) sessionID(from, node string, began time.Time) string {
	stamp := binary.BigEndian.AppendUint64(nil, uint64(began.Unix())) // #nosec G115 -- comes back as it was
	mac := hmac.New(sha256.New, d.key[:])
	mac.Write(stamp)
	mac.Write([]byte(node + "\x00" + from)) // neither has a NUL: XML has none
	return base64.RawURLEncoding.EncodeToString(mac.Sum(stamp))
}

// checkSession refuses the id of another's session, or of one that is over.
func (d *desk) checkSession(id, from, node string) *stanzaError {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) < 8 {
		return badRequest("bad-sessionid")
	}
	began := time.Unix(int64(binary.BigEndian.Uint64(raw)), 0) // #nosec G115 -- what is not ours fails below
	switch {
	case !hmac.Equal([]byte(id), []byte(d.sessionID(from, node, began))):
		return badRequest("bad-sessionid")
	case time.Since(began) > sessionLife:
		return &stanzaError{kind: "cancel", condition: "not-allowed", specific: "session-expired"}
	}
	return nil
}

// account gives the account of one of the hosts, a client of which has sent
// something. Its server wrote the address (RFC 6120 §8.1.2.1), with the resource: a
// bare JID is no client's, but for example a privileged component's (XEP-0356). One
// that is written in another form than ours cannot send, and owns nothing.
func (o *Options) account(from string) (message.JID, bool) {
	bare, resource, _ := strings.Cut(from, "/")
	account, err := message.ParseAccount(bare)
	return account, err == nil && string(account) == bare && resource != "" && bare != o.Domain && slices.Contains(o.Hosts, account.Domain())
}

// An order is one request to a desk, which holds nothing of the stanza but what it
// needs.
type order struct {
	iq      *stream.Element // its addresses alone
	command *Command
	owner   message.JID
	session string
	values  map[string][]string // nil: it asks for the form
}

// isOrder reports whether iq is about a command, of which there are some.
func (d *desk) isOrder(iq *stream.Element, domain string) bool {
	return len(d.commands) > 0 && iq.Attr("type") == "set" && iq.Attr("to") == domain && iq.Child(nsCommands, "command") != nil
}

// read makes an order of an IQ, or gives the answer to one that is none.
func (d *desk) read(iq *stream.Element, opts *Options) (o *order, answer []byte) {
	owner, known := opts.account(iq.Attr("from"))
	e := iq.Children[0]
	node, id, action := e.Attr("node"), e.Attr("sessionid"), e.Attr("action")
	o = &order{iq: addresses(iq), owner: owner, command: d.find(node), session: id}
	refuse := func(err *stanzaError) (*order, []byte) { return nil, appendError(nil, iq, err) }
	switch {
	case !known:
		return refuse(&stanzaError{kind: "auth", condition: "forbidden"})
	case len(iq.Children) > 1: // RFC 6120 §8.2.3
		return refuse(badRequest(""))
	case o.command == nil:
		return refuse(&stanzaError{kind: "cancel", condition: "item-not-found"})
	case !slices.Contains([]string{"", "execute", "next", "complete", "cancel", "prev"}, action):
		return refuse(badRequest("malformed-action"))
	case id == "" && action != "" && action != "execute", action == "prev":
		return refuse(badRequest("bad-action"))
	case id == "":
		o.session = d.sessionID(iq.Attr("from"), node, time.Now())
		return o, nil
	}
	if err := d.checkSession(id, iq.Attr("from"), node); err != nil {
		return refuse(err)
	}
	if action == "cancel" { // XEP-0050 §2.4.3
		return nil, o.appendReply(nil, "canceled", nil)
	}
	if o.values = readSubmission(e); o.values == nil {
		return refuse(badRequest("bad-payload"))
	}
	return o, nil
}

// addresses is what an answer needs of a question.
func addresses(iq *stream.Element) *stream.Element {
	slim := &stream.Element{}
	for _, a := range iq.Attrs {
		if a.Name.Space == "" && slices.Contains([]string{"from", "to", "id"}, a.Name.Local) {
			slim.Attrs = append(slim.Attrs, a)
		}
	}
	return slim
}

// order has a command done, beside the stream, whose writer answers.
func (s *session) order(ctx context.Context, iq *stream.Element) {
	o, answer := s.c.desk.read(iq, &s.c.opts)
	if o == nil {
		s.reply(answer)
		return
	}
	if !s.c.desk.enter(o.owner) {
		s.reply(appendError(nil, iq, &stanzaError{kind: "wait", condition: "resource-constraint", text: "another command of yours, or too many of others, are being done: try again"}))
		return
	}
	s.working.Add(1)
	go func() {
		defer s.working.Done()
		defer s.c.desk.leave(o.owner)
		answer := s.c.do(ctx, o)
		select {
		case s.answers <- answer: // it may hold what is shown once, so it is not dropped
		case <-ctx.Done():
		}
	}()
}

// do gives the answer to an order, which the server can take.
func (c *Component) do(ctx context.Context, o *order) []byte {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	answer, err := o.do(ctx)
	if err == nil && len(answer) > c.opts.MaxStanza {
		err = errors.New("component: the answer is too large")
	}
	if err == nil {
		return answer
	}
	f := fault.Of(err)
	switch {
	case f.Kind == fault.Forbidden:
		return appendError(nil, o.iq, &stanzaError{kind: "auth", condition: "forbidden", text: f.Public})
	case f.Kind != fault.Internal:
		return appendError(nil, o.iq, &stanzaError{kind: "wait", condition: "resource-constraint", text: f.Public})
	case ctx.Err() != nil:
		return appendError(nil, o.iq, &stanzaError{kind: "wait", condition: "resource-constraint", text: "it was not done in time: try again"})
	}
	c.opts.Log.Error("a command failed", "jid", o.owner, "reason", o.command.Node, "err", err)
	return appendError(nil, o.iq, &stanzaError{kind: "wait", condition: "internal-server-error"})
}

// do shows the form, or does the command where there is nothing to ask. What its
// owner can set right stands beside the form, filled in as it was.
func (o *order) do(ctx context.Context) ([]byte, error) {
	var form Form
	var err error
	if o.command.Form != nil {
		if form, err = o.command.Form(ctx, o.owner); err != nil {
			return nil, err
		}
	}
	if len(form.Fields) == 0 {
		o.values = map[string][]string{}
	}
	if o.values == nil {
		return o.appendReply(nil, "executing", &form), nil
	}
	values, err := form.check(o.values)
	if err == nil {
		var result Form
		if result, err = o.command.Run(ctx, o.owner, values); err == nil {
			return o.appendReply(nil, "completed", &result), nil
		}
	}
	f := fault.Of(err)
	if f.Kind != fault.Unsendable && f.Kind != fault.Conflict || len(form.Fields) == 0 {
		return nil, err
	}
	form.fill(o.values)
	form.wrong = f.Public
	return o.appendReply(nil, "executing", &form), nil
}

// appendReply writes an answer of that status, with the form if there is one
// (XEP-0050 §2.4). All forms have one stage.
func (o *order) appendReply(dst []byte, status string, form *Form) []byte {
	dst = append(appendReply(dst, o.iq, "result"), "<command xmlns='"+nsCommands+"'"...)
	dst = appendAttr(dst, "node", o.command.Node)
	dst = appendAttr(dst, "sessionid", o.session)
	dst = appendAttr(dst, "status", status)
	dst = append(dst, '>')
	if status == "executing" {
		dst = append(dst, "<actions execute='complete'><complete/></actions>"...)
		dst = form.append(dst, "form")
	} else if form != nil {
		dst = form.append(dst, "result")
	}
	return append(dst, "</command></iq>"...)
}
