package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// A done is one command that was run.
type done struct {
	Owner  message.JID
	Values map[string][]string
}

// A shop has commands that note that they were run.
type shop struct {
	mu    sync.Mutex
	done  []done
	err   error         // of Run
	delay time.Duration // of Run
}

func (s *shop) commands() []Command {
	return []Command{
		{Node: "make", Name: "Make <one>", Form: s.form, Run: s.run},
		{Node: "list", Name: "List", Run: s.run},
		{Node: "ask", Name: "Ask", Form: func(context.Context, message.JID) (Form, error) { return Form{}, s.err }, Run: s.run},
		{Node: "none", Name: "None", Form: func(context.Context, message.JID) (Form, error) { return Form{}, nil }, Run: s.run},
	}
}

func (s *shop) form(context.Context, message.JID) (Form, error) {
	return Form{Title: "T", Instructions: "I", Fields: []Field{
		{Var: "name", Label: "Name", Type: TextSingle, Required: true},
		{Var: "lines", Label: "Lines", Type: TextMulti},
		{Var: "one", Label: "One", Type: ListSingle, Values: []string{"a"}, Options: []string{"a", "b"}},
		{Var: "some", Label: "Some", Type: ListMulti, Options: []string{"c", "d"}},
	}}, nil
}

func (s *shop) run(ctx context.Context, owner message.JID, values map[string][]string) (Form, error) {
	if s.delay > 0 {
		sleep(ctx, s.delay)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return Form{}, ctx.Err()
	}
	if s.err != nil {
		return Form{}, s.err
	}
	s.done = append(s.done, done{owner, values})
	return Form{Note: "done <&>\x01", Title: "R", Fields: []Field{{Var: "v", Label: "V", Type: TextSingle, Values: []string{"shown once"}}}}, nil
}

// take gives what was run since the last call.
func (s *shop) take() []done {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.done
	s.done = nil
	return got
}

// open is a session of a component with the shop's commands, on no stream.
func (s *shop) open(t testing.TB) *session {
	return newSession(New(Options{Domain: "post.example.com", Hosts: []string{"example.com", "other.example"}, MaxStanza: 10000,
		Commands: s.commands(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), nil, nil)
}

// hear gives s one stanza, and what it answers once all is done.
func (s *session) hear(t *testing.T, stanza string) (answer string) {
	t.Helper()
	e, err := openStream(t, stanza).Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.receive(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	s.working.Wait()
	for len(s.answers) > 0 {
		answer += string(<-s.answers)
	}
	return answer
}

const client = "me@example.com/phone"

// command is an IQ with a command from a client.
func command(from, attrs, payload string) string {
	return fmt.Sprintf(`<iq type='set' from='%s' to='post.example.com' id='1'><command xmlns='http://jabber.org/protocol/commands' %s>%s</command></iq>`, from, attrs, payload)
}

// submit is a form that was filled in: name=value, or name alone.
func submit(fields ...string) string {
	all := ""
	for _, f := range fields {
		name, value, filled := strings.Cut(f, "=")
		all += "<field var='" + name + "'>"
		if filled {
			all += "<value>" + value + "</value>"
		}
		all += "</field>"
	}
	return "<x xmlns='jabber:x:data' type='submit'>" + all + "</x>"
}

func refusal(kind, condition, rest string) string {
	return fmt.Sprintf(`<iq type='error' from='post.example.com' to='%s' id='1'><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>%s</error></iq>`, client, kind, condition, rest)
}

func specific(condition string) string {
	return refusal("modify", "bad-request", "<"+condition+" xmlns='http://jabber.org/protocol/commands'/>")
}

// TestCommand: from the list to the result, as a client sees it.
func TestCommand(t *testing.T) {
	sold := &shop{}
	s := sold.open(t)
	id := s.c.desk.sessionID(client, "make", time.Now())
	reply := func(rest string) string {
		return `<iq type='result' from='post.example.com' to='me@example.com/phone' id='1'>` + rest + `</iq>`
	}
	query := func(what, node, rest string) string {
		return reply(`<query xmlns='http://jabber.org/protocol/disco#` + what + `'` + node + `>` + rest + `</query>`)
	}
	ask := func(what, node string) string {
		return `<iq type='get' from='me@example.com/phone' to='post.example.com' id='1'><query xmlns='http://jabber.org/protocol/disco#` + what + `'` + node + `/></iq>`
	}
	const list = ` node='http://jabber.org/protocol/commands'`
	result := `<note type='info'>done &lt;&amp;&gt;` + "\ufffd" + `</note><x xmlns='jabber:x:data' type='result'><title>R</title><field var='v' type='text-single' label='V'><value>shown once</value></field></x></command>`
	form := func(name, note, lines string) string {
		return `<command xmlns='http://jabber.org/protocol/commands' node='make' sessionid='` + id + `' status='executing'><actions execute='complete'><complete/></actions>` + note +
			`<x xmlns='jabber:x:data' type='form'><title>T</title><instructions>I</instructions><field var='name' type='text-single' label='Name'><required/>` + name + `</field>` +
			`<field var='lines' type='text-multi' label='Lines'>` + lines + `</field><field var='one' type='list-single' label='One'><value>a</value><option label='a'><value>a</value></option><option label='b'><value>b</value></option></field>` +
			`<field var='some' type='list-multi' label='Some'><option label='c'><value>c</value></option><option label='d'><value>d</value></option></field></x></command>`
	}
	for _, step := range []struct{ name, said, want string }{
		{"what it is", ask("info", ""), query("info", "", `<identity category='component' type='generic' name='posthorn'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='jabber:iq:version'/><feature var='urn:xmpp:ping'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/commands'/>`)},
		{"what it has", ask("items", ""), query("items", "", "")},
		{"its commands", ask("items", list), query("items", list, `<item jid='post.example.com' node='make' name='Make &lt;one&gt;'/><item jid='post.example.com' node='list' name='List'/><item jid='post.example.com' node='ask' name='Ask'/><item jid='post.example.com' node='none' name='None'/>`)},
		{"what the list is", ask("info", list), query("info", list, `<identity category='automation' type='command-list' name='Commands'/>`)},
		{"what a command is", ask("info", ` node='make'`), query("info", ` node='make'`, `<identity category='automation' type='command-node' name='Make &lt;one&gt;'/><feature var='http://jabber.org/protocol/commands'/><feature var='jabber:x:data'/>`)},
		{"what a command has", ask("items", ` node='make'`), query("items", ` node='make'`, ``)},
		{"the form", command(client, "node='make'", ""), reply(form("", "", ""))},
		{"the form, by its action", command(client, "node='make' action='execute'", ""), reply(form("", "", ""))},
		{"a field that is missing", command(client, "node='make' sessionid='"+id+"'", submit("lines=x&amp;y")), reply(form("", `<note type='error'>name: is missing</note>`, `<value>x&amp;y</value>`))},
		{"canceled", command(client, "node='make' action='cancel' sessionid='"+id+"'", ""), reply(`<command xmlns='http://jabber.org/protocol/commands' node='make' sessionid='` + id + `' status='canceled'></command>`)},
		{"done", command(client, "node='make' action='complete' sessionid='"+id+"'", submit("name=n", "lines= l ", "some=c", "one=b")), reply(`<command xmlns='http://jabber.org/protocol/commands' node='make' sessionid='` + id + `' status='completed'>` + result)},
		{"without a form", command(client, "node='list'", ""), reply(`<command xmlns='http://jabber.org/protocol/commands' node='list' sessionid='` + s.c.desk.sessionID(client, "list", time.Now()) + `' status='completed'>` + result)},
		{"with nothing to ask", command(client, "node='none'", ""), reply(`<command xmlns='http://jabber.org/protocol/commands' node='none' sessionid='` + s.c.desk.sessionID(client, "none", time.Now()) + `' status='completed'>` + result)},
	} {
		got := sameSecond(s.hear(t, step.said), id)
		if diff := cmp.Diff(sameSecond(step.want, id), got); diff != "" {
			t.Errorf("%s:\n%s", step.name, diff)
		}
		_ = parseOne(t, []byte(got))
	}
	want := []done{{"me@example.com", map[string][]string{"name": {"n"}, "lines": {"l"}, "some": {"c"}, "one": {"b"}}}, {"me@example.com", map[string][]string{}}, {"me@example.com", map[string][]string{}}}
	if diff := cmp.Diff(want, sold.take()); diff != "" {
		t.Error(diff)
	}
}

// sameSecond makes session ids alike, which tell the time.
func sameSecond(s, id string) string {
	before, after, found := strings.Cut(s, " sessionid='")
	if !found || len(after) < len(id) {
		return s
	}
	return before + " sessionid='ID" + after[len(id):]
}

// TestCommandOfStrangers: nobody but a client of an account of a host is told of
// commands, or has one done.
func TestCommandOfStrangers(t *testing.T) {
	for name, from := range map[string]string{
		"another server":             "me@example.org/phone",
		"a subdomain":                "me@sub.example.com/phone",
		"a domain that ends alike":   "me@badexample.com/phone",
		"an occupant of a room":      "room@rooms.example.com/me@example.com",
		"the host itself":            "example.com",
		"a resource of the host":     "example.com/me@example.com",
		"no name":                    "@example.com/phone",
		"our own domain":             "me@post.example.com/phone",
		"ourselves":                  "post.example.com",
		"a bare JID":                 "me@example.com",
		"an empty resource":          "me@example.com/",
		"another form of the domain": "me@EXAMPLE.com/phone",
		"another form of the name":   "Me@example.com/phone",
		"a name that folds":          "straẞe@example.com/phone",
		"two @":                      "me@example.com@example.org/phone",
		"@ in the resource":          "evil.example/me@example.com/phone",
		"a trailing dot":             "me@example.com./phone",
	} {
		t.Run(name, func(t *testing.T) {
			sold := &shop{}
			s := sold.open(t)
			id := s.c.desk.sessionID(from, "make", time.Now())
			for _, said := range []string{
				command(from, "node='make' sessionid='"+id+"'", submit("name=n")),
				command(from, "node='make' sessionid='"+id+"' from='me@example.com/phone'", submit("name=n", "from=me@example.com", "owner=me@example.com")),
				command(from, "node='list'", ""),
				command(from, "node='nowhere'", ""),
				command(from+"' xmlns:e='jabber:client' e:from='me@example.com/phone", "node='list'", ""),
				strings.ReplaceAll(`<iq type='get' from='FROM' to='post.example.com' id='1'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>`, "FROM", from),
				strings.ReplaceAll(`<iq type='get' from='FROM' to='post.example.com' id='1'><query xmlns='http://jabber.org/protocol/disco#info' node='make'/></iq>`, "FROM", from),
				`<message from='` + from + `' to='post.example.com' type='chat'><body>hello</body></message>`,
			} {
				want := strings.Replace(refusal("auth", "forbidden", ""), client, from, 1)
				if strings.HasPrefix(said, "<message") {
					want = ""
				}
				if got := s.hear(t, said); got != want || len(sold.take()) > 0 {
					t.Errorf("%s\nis answered with %s", said, got)
				}
			}
		})
	}
}

// TestCommandRefused: what is not as it has to be changes nothing.
func TestCommandRefused(t *testing.T) {
	id := func(s *session, from, node string, age time.Duration) string {
		return "sessionid='" + s.c.desk.sessionID(from, node, time.Now().Add(-age)) + "'"
	}
	sold := &shop{}
	s := sold.open(t)
	mine := id(s, client, "make", 0)
	many := strings.Repeat("<value>x</value>", maxValues+1)
	for _, test := range []struct{ name, said, want string }{
		{"no node", command(client, "", ""), refusal("cancel", "item-not-found", "")},
		{"unknown node", command(client, "node='nowhere'", ""), refusal("cancel", "item-not-found", "")},
		{"node in a namespace", command(client, "xmlns:e='urn:e' e:node='list'", ""), refusal("cancel", "item-not-found", "")},
		{"unknown action", command(client, "node='make' action='destroy'", ""), specific("malformed-action")},
		{"complete, before the form", command(client, "node='make' action='complete'", submit("name=n")), specific("bad-action")},
		{"cancel, before the form", command(client, "node='make' action='cancel'", ""), specific("bad-action")},
		{"prev", command(client, "node='make' action='prev' "+mine, ""), specific("bad-action")},
		{"no form", command(client, "node='make' "+mine, ""), specific("bad-payload")},
		{"a form that is not filled in", command(client, "node='make' "+mine, "<x xmlns='jabber:x:data' type='form'><field var='name'><value>n</value></field></x>"), specific("bad-payload")},
		{"a form that was given up", command(client, "node='make' "+mine, "<x xmlns='jabber:x:data' type='cancel'/>"), specific("bad-payload")},
		{"a form of another namespace", command(client, "node='make' "+mine, "<x xmlns='urn:x' type='submit'><field var='name'><value>n</value></field></x>"), specific("bad-payload")},
		{"two forms", command(client, "node='make' "+mine, submit("name=n")+submit("name=m")), specific("bad-payload")},
		{"a field twice", command(client, "node='make' "+mine, submit("name=n", "name=m")), specific("bad-payload")},
		{"a field without a name", command(client, "node='make' "+mine, submit("name=n", "=m")), specific("bad-payload")},
		{"too many fields", command(client, "node='make' "+mine, submit(numbered(maxFields+1)...)), specific("bad-payload")},
		{"too many values", command(client, "node='make' "+mine, "<x xmlns='jabber:x:data' type='submit'><field var='lines'>"+many+"</field></x>"), specific("bad-payload")},
		{"too large", command(client, "node='make' "+mine, submit("name=n", "lines="+strings.Repeat("x", maxFilled))), specific("bad-payload")},
		{"a long name of a field", command(client, "node='make' "+mine, submit("name=n", strings.Repeat("x", maxFilled))), specific("bad-payload")},
		{"a session of nobody", command(client, "node='make' sessionid='x'", submit("name=n")), specific("bad-sessionid")},
		{"a short one", command(client, "node='make' sessionid='AAAA'", submit("name=n")), specific("bad-sessionid")},
		{"a session of zeros", command(client, "node='make' sessionid='"+strings.Repeat("A", 54)+"'", submit("name=n")), specific("bad-sessionid")},
		{"another's session", command(client, "node='make' "+id(s, "you@example.com/phone", "make", 0), submit("name=n")), specific("bad-sessionid")},
		{"a session of another client", command(client, "node='make' "+id(s, "me@example.com/laptop", "make", 0), submit("name=n")), specific("bad-sessionid")},
		{"a session of another command", command(client, "node='make' "+id(s, client, "list", 0), submit("name=n")), specific("bad-sessionid")},
		{"a session that is cancelled by another", command(client, "node='make' action='cancel' "+id(s, "you@example.com/phone", "make", 0), ""), specific("bad-sessionid")},
		{"a session with a line feed in it", command(client, "node='make' "+strings.Replace(mine, "A", "A&#10;", 1), submit("name=n")), specific("bad-sessionid")},
		{"an old session", command(client, "node='make' "+id(s, client, "make", sessionLife+time.Second), submit("name=n")), refusal("cancel", "not-allowed", "<session-expired xmlns='http://jabber.org/protocol/commands'/>")},
		{"another session's key", command(client, "node='make' "+id((&shop{}).open(t), client, "make", 0), submit("name=n")), specific("bad-sessionid")},
		{"two commands", `<iq type='set' from='` + client + `' to='post.example.com' id='1'><command xmlns='http://jabber.org/protocol/commands' node='list'/><command xmlns='http://jabber.org/protocol/commands' node='list'/></iq>`, refusal("modify", "bad-request", "")},
		{"a command beside something", `<iq type='set' from='` + client + `' to='post.example.com' id='1'><x xmlns='urn:x'/><command xmlns='http://jabber.org/protocol/commands' node='list'/></iq>`, refusal("modify", "bad-request", "")},
		{"get", strings.Replace(command(client, "node='list'", ""), "'set'", "'get'", 1), refusal("cancel", "service-unavailable", "")},
		{"a result", strings.Replace(command(client, "node='list'", ""), "'set'", "'result'", 1), ""},
		{"an error", strings.Replace(command(client, "node='list'", ""), "'set'", "'error'", 1), ""},
		{"to an address of ours", strings.Replace(command(client, "node='list'", ""), "to='post", "to='x@post", 1), strings.Replace(refusal("cancel", "service-unavailable", ""), "from='", "from='x@", 1)},
		{"a very long id", strings.Replace(command(client, "node='list'", ""), "id='1'", "id='"+strings.Repeat("1", maxEcho)+"'", 1), ""},
		{"in a message", `<message from='` + client + `' to='post.example.com' type='chat'><command xmlns='http://jabber.org/protocol/commands' node='list'/></message>`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := s.hear(t, test.said); got != test.want || len(sold.take()) > 0 {
				t.Errorf("answer is\n%s, want\n%s", got, test.want)
			}
		})
	}
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("f", i))
	}
	return names
}

// TestFormRefused: what is filled in wrongly is shown again, with the reason.
func TestFormRefused(t *testing.T) {
	for name, test := range map[string]struct {
		fields []string
		want   string
	}{
		"missing":              {[]string{"lines=x"}, "name: is missing"},
		"empty":                {[]string{"name="}, "name: is missing"},
		"blank":                {[]string{"name= \n "}, "name: is missing"},
		"two lines":            {[]string{"name=a\nb"}, "name: has to be one"},
		"not of the list":      {[]string{"name=a", "one=c"}, "one: has to be of the list, which may have changed"},
		"some not of the list": {[]string{"name=a", "some=c\nx"}, "some: has to be of the list, which may have changed"},
		"unknown":              {[]string{"name=a", "recipient=x"}, `"recipient": is no field of this form`},
		"somebody else":        {[]string{"name=a", "owner=you@example.com"}, `"owner": is no field of this form`},
	} {
		t.Run(name, func(t *testing.T) {
			sold := &shop{}
			s := sold.open(t)
			got := parseOne(t, []byte(s.hear(t, command(client, "node='make' sessionid='"+s.c.desk.sessionID(client, "make", time.Now())+"'", submit(test.fields...)))))
			c := got.children(nsCommands, "command")[0]
			notes := c.children(nsCommands, "note")
			if c.attr("status") != "executing" || len(notes) != 1 || notes[0].attr("type") != "error" || notes[0].Text != test.want || len(sold.take()) > 0 {
				t.Errorf("the command is %s with the notes %+v", c.attr("status"), notes)
			}
		})
	}
	t.Run("lines in one value, and fixed fields", func(t *testing.T) {
		sold := &shop{}
		s := sold.open(t)
		s.hear(t, command(client, "node='make' action='next' sessionid='"+s.c.desk.sessionID(client, "make", time.Now())+"'",
			strings.Replace(submit("name=n", "lines=a\r\n\n b"), "<field", "<field type='fixed'><value>x</value></field><field", 1)))
		want := []done{{"me@example.com", map[string][]string{"name": {"n"}, "lines": {"a", "b"}, "one": nil, "some": nil}}}
		if diff := cmp.Diff(want, sold.take()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestCommandFails: what the commander says is told if it is for the user.
func TestCommandFails(t *testing.T) {
	const text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>line</text>"
	cause := errors.New("s3cret cause")
	for name, test := range map[string]struct {
		err         error
		make, plain string
	}{
		"wrong":       {fault.New(fault.Unsendable, "line"), "", refusal("wait", "resource-constraint", text)},
		"conflict":    {fault.New(fault.Conflict, "line"), "", refusal("wait", "resource-constraint", text)},
		"forbidden":   {fault.Wrap(cause, fault.Forbidden, "line"), refusal("auth", "forbidden", text), refusal("auth", "forbidden", text)},
		"unavailable": {fault.Wrap(cause, fault.Unavailable, "line"), refusal("wait", "resource-constraint", text), refusal("wait", "resource-constraint", text)},
		"a mistake":   {cause, refusal("wait", "internal-server-error", ""), refusal("wait", "internal-server-error", "")},
	} {
		t.Run(name, func(t *testing.T) {
			sold := &shop{err: test.err}
			s := sold.open(t)
			got := s.hear(t, command(client, "node='make' sessionid='"+s.c.desk.sessionID(client, "make", time.Now())+"'", submit("name=n")))
			if test.make != "" && got != test.make || test.make == "" && !strings.Contains(got, "status='executing'><actions execute='complete'><complete/></actions><note type='error'>line</note>") {
				t.Errorf("with a form: %s", got)
			}
			for _, node := range []string{"list", "ask"} {
				if got := s.hear(t, command(client, "node='"+node+"'", "")); got != test.plain {
					t.Errorf("%s: %s", node, got)
				}
			}
		})
	}
	t.Run("an answer that the server would not take", func(t *testing.T) {
		sold := &shop{}
		s := sold.open(t)
		s.c.opts.MaxStanza = 100
		if got := s.hear(t, command(client, "node='list'", "")); got != refusal("wait", "internal-server-error", "") {
			t.Error(got)
		}
	})
}

// TestCommandsBeside: messages flow while commands take their time; one account has
// one done at a time, all have few, and each has its end with the stream.
func TestCommandsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sold := &shop{delay: 3 * time.Second}
		var mu sync.Mutex
		answers := map[string]string{}
		srv := &server{onAnswer: func(e *stream.Element) {
			mu.Lock()
			defer mu.Unlock()
			condition, _ := e.Child(e.Name.Space, "error").Condition(nsStanzaErrors)
			answers[e.Attr("to")] = strings.TrimSpace(e.Attr("type") + " " + condition)
		}}
		peers := make(chan *peer, 10)
		srv.greet = func(_ int, p *peer) { peers <- p }
		c := srv.start(t, func(o *Options) { o.Commands = sold.commands() })
		up(t, c)
		p := <-peers
		for i := range maxWork + 2 {
			p.say("%s", command(fmt.Sprintf("u%d@example.com/a", i), "node='list'", ""))
			p.say("%s", command(fmt.Sprintf("u%d@example.com/b", i), "node='list'", ""))
		}
		wantDelivered(t, c, "m1")
		if len(sold.take()) > 0 {
			t.Fatal("the message waited for the commands")
		}
		time.Sleep(4 * time.Second)
		mu.Lock()
		want := map[string]string{}
		for i := range maxWork + 2 {
			want[fmt.Sprintf("u%d@example.com/a", i)], want[fmt.Sprintf("u%d@example.com/b", i)] = "result", "error resource-constraint"
			if i >= maxWork {
				want[fmt.Sprintf("u%d@example.com/a", i)] = "error resource-constraint"
			}
		}
		if diff := cmp.Diff(want, maps.Clone(answers)); diff != "" {
			t.Errorf("after the flood:\n%s", diff)
		}
		mu.Unlock()
		sold.take()

		sold.delay = time.Hour // longer than it may take
		p.say("%s", command("slow@example.com/a", "node='list'", ""))
		time.Sleep(workTimeout + time.Second)
		mu.Lock()
		if answers["slow@example.com/a"] != "error resource-constraint" {
			t.Errorf("one that takes too long: %v", answers["slow@example.com/a"])
		}
		mu.Unlock()
		p.say("%s", command("slow@example.com/a", "node='list'", ""))
		synctest.Wait()
		_ = p.conn.Close()
		time.Sleep(2 * time.Second)
		c.desk.mu.Lock()
		defer c.desk.mu.Unlock()
		if len(c.desk.busy) != 0 || c.State() != Up {
			t.Errorf("%v are still busy, and the stream is %v", c.desk.busy, c.State())
		}
		if got := testutil.ToFloat64(c.metrics.dropped.WithLabelValues("flood")); got != 0 {
			t.Errorf("%v answers were dropped", got)
		}
	})
}

// TestHints: a person who writes to us is told what to do, once a minute.
func TestHints(t *testing.T) {
	chat := func(attrs, inside string) string {
		return `<message from='` + client + `' to='post.example.com' ` + attrs + `>` + inside + `</message>`
	}
	const body = `<body>hello</body>`
	for _, test := range []struct {
		name, said string
		want       bool
	}{
		{"chat", chat("type='chat' id='1'", body), true},
		{"normal", chat("type='normal'", body), true},
		{"no type", chat("", body), true},
		{"with a chat state", chat("type='chat'", body+`<active xmlns='http://jabber.org/protocol/chatstates'/>`), true},
		{"headline", chat("type='headline'", body), false},
		{"room", chat("type='groupchat'", body), false},
		{"error", chat("type='error'", body), false},
		{"unknown type", chat("type='x'", body), false},
		{"no body", chat("type='chat'", `<composing xmlns='http://jabber.org/protocol/chatstates'/>`), false},
		{"empty body", chat("type='chat'", `<body> </body>`), false},
		{"a body of another namespace", chat("type='chat'", `<body xmlns='urn:x'>hello</body>`), false},
		{"a body deeper down", chat("type='chat'", `<x xmlns='urn:x'><body xmlns='jabber:component:accept'>hello</body></x>`), false},
		{"delayed", chat("type='chat'", body+`<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>`), false},
		{"delayed, old way", chat("type='chat'", body+`<x xmlns='jabber:x:delay'/>`), false},
		{"a copy", chat("type='chat'", body+`<sent xmlns='urn:xmpp:carbons:2'/>`), false},
		{"forwarded", chat("type='chat'", body+`<forwarded xmlns='urn:xmpp:forward:0'/>`), false},
		{"corrected", chat("type='chat'", body+`<replace xmlns='urn:xmpp:message-correct:0' id='1'/>`), false},
		{"our own words", chat("type='chat'", `<body>You said: `+hint+`</body>`), false},
		{"to an address of ours", strings.Replace(chat("type='chat'", body), "to='post", "to='x@post", 1), false},
		{"to a resource of ours", strings.Replace(chat("type='chat'", body), "example.com' ", "example.com/x' ", 1), false},
		{"from ourselves in the name of a user", strings.Replace(chat("type='chat'", body), client, "me@example.com", 1), false},
		{"from the host", strings.Replace(chat("type='chat'", body), client, "example.com", 1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := (&shop{}).open(t)
			got := s.hear(t, test.said)
			if !test.want {
				if got != "" {
					t.Errorf("answered with %s", got)
				}
				return
			}
			e := parseOne(t, []byte(got))
			if len(e.children("stream", "body")) != 1 || e.children("stream", "body")[0].Text != hint || e.attr("to") != client || e.attr("from") != "post.example.com" || e.Name.Local != "message" || e.attr("type") == "error" {
				t.Errorf("answered with %s", got)
			}
			if got := s.hear(t, test.said); got != "" {
				t.Errorf("answered again with %s", got)
			}
		})
	}
	t.Run("without commands", func(t *testing.T) {
		s := newSession(New(Options{Domain: "post.example.com", Hosts: []string{"example.com"}}), nil, nil)
		if got := s.hear(t, chat("type='chat'", body)); got != "" {
			t.Error(got)
		}
	})
	t.Run("our own test", func(t *testing.T) {
		s := (&shop{}).open(t)
		s.echoes["test"] = false
		if got := s.hear(t, chat("type='chat' id='test'", body)); got != "" || !s.echoes["test"] {
			t.Error(got)
		}
	})
}

// TestHintsBounded: one account has a hint a minute, whatever its client, and a crowd
// costs bounded memory.
func TestHintsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := (&shop{}).open(t)
		say := func(from string) bool {
			return s.hear(t, `<message from='`+from+`' to='post.example.com' type='chat'><body>hello</body></message>`) != ""
		}
		if !say("me@example.com/a") || say("me@example.com/b") {
			t.Error("the second client of an account is answered, or the first is not")
		}
		time.Sleep(hintPause - time.Second)
		if say("me@example.com/a") {
			t.Error("answered within a minute")
		}
		time.Sleep(time.Second)
		if !say("me@example.com/a") {
			t.Error("not answered after a minute")
		}
		answered := 0
		for i := range maxHinted + 100 {
			if say(fmt.Sprintf("u%d@example.com/a", i)) {
				answered++
			}
		}
		if answered != maxHinted-1 || len(s.c.greeter.hinted) != maxHinted {
			t.Errorf("%d were answered, %d are remembered", answered, len(s.c.greeter.hinted))
		}
		time.Sleep(hintPause)
		if !say("new@example.com/a") || len(s.c.greeter.hinted) != 1 {
			t.Errorf("a minute later %d are remembered", len(s.c.greeter.hinted))
		}
	})
}

// TestNoCommands: without commands nothing is said of them.
func TestNoCommands(t *testing.T) {
	s := newSession(New(Options{Domain: "post.example.com", Hosts: []string{"example.com"}}), nil, nil)
	for _, said := range []string{
		command(client, "node='list'", ""),
		`<iq type='get' from='` + client + `' to='post.example.com' id='1'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>`,
	} {
		if got := s.hear(t, said); got != refusal("cancel", "service-unavailable", "") {
			t.Error(got)
		}
	}
}

// TestCommandsWaitedFor: a component that stops waits for what it has begun.
func TestCommandsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		peers := make(chan *peer, 1)
		srv := &server{stopped: make(chan struct{}), greet: func(_ int, p *peer) { peers <- p }}
		opts := srv.options(t)
		opts.Commands = []Command{{Node: "list", Run: func(context.Context, message.JID, map[string][]string) (Form, error) {
			<-release
			return Form{}, nil
		}}}
		c := New(opts)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		up(t, c)
		(<-peers).say("%s", command(client, "node='list'", ""))
		synctest.Wait()
		cancel()
		time.Sleep(time.Minute)
		select {
		case <-ended:
			t.Error("Run has returned while a command is being done")
		default:
		}
		close(release)
		<-ended
		close(srv.stopped)
	})
}
