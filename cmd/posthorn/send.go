package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"

	"posthorn/internal/message"
)

const sendUsage = `usage: posthorn send [flags] JID... [TEXT]

Hands TEXT, or what comes on standard input, to a running posthorn as a message
to each JID. The first argument is a recipient in any case, those that follow
are while they look like one; behind -- stands text.

  -s, --subject TEXT   the message's subject
  -c, --groupchat      the JIDs are rooms (--chatroom means the same)
  -l, --headline       show it now or not at all: it is kept for nobody
      --type TYPE      chat, normal, headline, groupchat; default: chat
  -r, --nick NAME      the name in a room, beside your own (or --resource)
  -m, --message FILE   read the text from FILE, - for standard input
      --attach FILE    send FILE, with the text of the arguments or of -m; -: send
                       standard input, as a file where it is too large for a message
      --hook NAME      what is sent is a webhook's payload for that template
      --key KEY        sent again with the same KEY, it still arrives once
  -v, --verbose        print what became of it
      --config FILE    default: ~/.config/posthorn/send.yaml
      --help           this text

Who sends, and where posthorn is, say that file or the environment: POSTHORN_URL
(default: http://127.0.0.1:5288), POSTHORN_JID and POSTHORN_PASSWORD, or
POSTHORN_TOKEN.

exit status: 0 sent or kept, 1 refused, 2 wrong usage, 75 try again later
`

// A submission is what one run of posthorn send hands over.
type submission struct {
	to                  []string
	text                string
	given               bool // the arguments have text
	subject, kind, nick string
	file, attach        string // that of the text, and that beside it
	hook, key           string
	verbose             bool
	configFile          string
	unusable            string // what cannot work, of another program's flags
}

// send is a client of a running posthorn, on any machine: unlike the other commands
// it has flags and a configuration of its own.
func send(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	signal.Reset(os.Interrupt, syscall.SIGTERM) // there is nothing to end well
	s := &submission{}
	switch err := s.parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, sendUsage)
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "posthorn: send:", err)
		fmt.Fprintln(stderr, "hint: posthorn send --help")
		return exitUsage
	}
	c, err := loadSendConfig(s.configFile, os.Getenv)
	if err != nil {
		fmt.Fprintln(stderr, "posthorn: send:", err)
		return exitUsage
	}
	if c.inClear() {
		fmt.Fprintf(stderr, "posthorn: send: warning: the password crosses the network in clear: let url begin with https (it is %s)\n", c.URL)
	}
	a, err := s.post(ctx, c, stderr)
	if err != nil {
		return s.unanswered(err, stderr)
	}
	return s.answered(a, stdout, stderr)
}

// parse reads the command line, in which flags may stand before, between and
// after the arguments.
func (s *submission) parse(args []string) error {
	var verbatim []string
	for i, arg := range args {
		if arg == "--" {
			args, verbatim = args[:i], args[i+1:]
			break
		}
	}
	positional, err := parseMixed(s.flags(), args)
	if err != nil {
		return err
	}
	to, words := recipientsAndText(positional, verbatim)
	s.text, s.given = strings.Join(words, " "), len(words) > 0
	switch {
	case s.unusable != "":
		return errors.New(s.unusable)
	case len(to) == 0:
		return errors.New("no recipient: posthorn send JID... [TEXT]")
	case s.given && s.file != "":
		return fmt.Errorf("the text is both in %s and in the arguments, from %q on", s.file, words[0])
	case s.hook != "" && s.attach != "":
		return errors.New("--hook takes no --attach")
	case s.attach == "-" && (s.given || s.file != ""):
		return errors.New("--attach - sends standard input, beside which no text can stand")
	}
	s.to, err = splitRecipients(to)
	return err
}

// flags knows those of sendxmpp that scripts use, by their meaning there.
func (s *submission) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for value, names := range map[*string][]string{
		&s.subject: {"s", "subject"}, &s.kind: {"type", "message-type"}, &s.nick: {"r", "nick", "resource"},
		&s.file: {"m", "message"}, &s.attach: {"attach"}, &s.hook: {"hook"}, &s.key: {"key"}, &s.configFile: {"config"},
	} {
		for _, name := range names {
			flags.StringVar(value, name, "", "")
		}
	}
	for kind, names := range map[string][]string{"groupchat": {"c", "groupchat", "chatroom"}, "headline": {"l", "headline"}} {
		for _, name := range names {
			flags.BoolFunc(name, "", func(string) error { s.kind = kind; return nil })
		}
	}
	flags.BoolVar(&s.verbose, "v", false, "")
	flags.BoolVar(&s.verbose, "verbose", false, "")
	for _, name := range []string{"t", "tls", "e", "ssl"} {
		flags.BoolFunc(name, "", func(string) error { return nil }) // url says it
	}
	s.unusableFlags(flags)
	return flags
}

// unusableFlags are those of sendxmpp that cannot mean here what they mean there.
// Their values are dropped: one may be a password.
func (s *submission) unusableFlags(flags *flag.FlagSet) {
	add := func(define func(name, usage string, seen func(string) error), instead string, names ...string) {
		for _, name := range names {
			define(name, "", func(string) error {
				s.unusable = fmt.Sprintf("-%s of sendxmpp has no meaning here: %s", name, instead)
				return nil
			})
		}
	}
	add(flags.Func, "jid and password stand in ~/.config/posthorn/send.yaml", "u", "username", "p", "password")
	add(flags.BoolFunc, "jid and password stand in ~/.config/posthorn/send.yaml", "sso")
	add(flags.Func, "url in ~/.config/posthorn/send.yaml says where posthorn is", "j", "jserver", "o", "component")
	add(flags.Func, "--config names a send.yaml", "f", "file")
	add(flags.Func, "ca_file in ~/.config/posthorn/send.yaml names a private CA", "a", "tls-ca-path")
	add(flags.BoolFunc, "certificates are always verified, by ca_file in ~/.config/posthorn/send.yaml if need be", "n", "no-tls-verify")
	add(flags.BoolFunc, "standard input is one message: call posthorn send for each line", "i", "interactive")
	add(flags.BoolFunc, "posthorn makes the XML", "w", "raw")
	add(flags.BoolFunc, "take -v", "d", "debug")
}

// recipientsAndText tells one from the other. Behind -- all is text, save for the
// recipient that there has to be.
func recipientsAndText(args, verbatim []string) (to, text []string) {
	if len(args) == 0 {
		args, verbatim = verbatim, nil
	}
	n := 0
	for n < len(args) && (n == 0 || isAddressed(args[n])) {
		n++
	}
	return args[:n], append(args[n:len(args):len(args)], verbatim...)
}

// isAddressed reports whether a word is meant to be an address: it has an @, and no
// slash before it as a URL has. That it is one is checked later, so that a recipient
// with a typing mistake does not become the text.
func isAddressed(word string) bool {
	bare, _, _ := strings.Cut(word, "/")
	return strings.Contains(bare, "@") && !strings.ContainsFunc(word, unicode.IsSpace)
}

func splitRecipients(args []string) (to []string, err error) {
	for part := range strings.SplitSeq(strings.Join(args, ","), ",") {
		part = strings.TrimSpace(part)
		if strings.Contains(part, "@") {
			_, err = message.ParseRecipient(part)
		} else if part == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("recipient %q %w (put -- before a text that begins so)", part, err)
		}
		to = append(to, part)
	}
	return to, nil
}
