// Command posthorn lets anything that can do an HTTP POST send an XMPP message
// as a real user of an XMPP server. This package is the only one that knows
// flags, files, the environment and signals: it reads the configuration,
// builds the others and hands each what it needs.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// version is set by the Makefile.
var version = "unknown"

// Exit statuses.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitTryLater = 75 // EX_TEMPFAIL of sysexits.h
)

const usage = `posthorn sends XMPP messages for whoever can do an HTTP POST.

usage: posthorn [command] [--config FILE]

  serve                 take requests until stopped (also without a command)
  check                 try the whole way and say what to change
  check --as JID        say whether somebody may send; --to JID: to whom
  server-config SERVER  print the lines to add to the configuration of
                        prosody or ejabberd
  outbox list           print what is kept until it can be sent
  outbox show ID        print what is known of a message
  outbox retry ID       try it at once; --all: everything
  outbox drop ID        give it up; --all: everything
  token create          let somebody send by a token in place of a password
  token list            print the tokens that there are
  token revoke          end one, or all of an account
  store copy FROM TO    copy what is kept to another database
                        (posthorn store --help)
  hook list             print the templates of webhooks
  hook show NAME        print one, to change it in hooks.dir
  hook render NAME      print what it makes of the payload on standard input
  send JID... [TEXT]    send a message by a posthorn that runs, here or elsewhere
                        (posthorn send --help)
  version               print the version

  --config FILE         default: posthorn.yaml here or in /etc/posthorn/
  --json                of check, list and show: an object a line
  --help                this text
`

// A command does one thing with the loaded configuration and gives the exit
// status.
type command func(ctx context.Context, p *program) int

var commands = map[string]command{
	"serve":         serve,
	"check":         check,
	"server-config": serverConfig,
	"outbox":        outbox,
	"token":         manageTokens,
	"hook":          hook,
	"store":         manageStore,
}

// usages are those of commands that have one of their own.
var usages = map[string]string{"outbox": outboxUsage, "token": tokenUsage, "hook": hookUsage, "store": storeUsage}

// A program is one run of posthorn.
type program struct {
	config         config
	configFile     string // empty: environment alone
	args           []string
	json, all      bool // of outbox; json of token, hook and check too
	tokenFlags     tokenFlags
	hookFlags      hookFlags
	as, to         string // of check
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "send" { // it has flags and a configuration of its own
		return send(ctx, args[1:], stdout, stderr)
	}
	flags := flag.NewFlagSet("posthorn", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	p := &program{stdout: stdout, stderr: stderr}
	file := flags.String("config", "", "")
	flags.BoolVar(&p.json, "json", false, "")
	flags.BoolVar(&p.all, "all", false, "")
	p.tokenFlags.register(flags)
	p.hookFlags.register(flags)
	flags.StringVar(&p.as, "as", "", "")
	flags.StringVar(&p.to, "to", "", "")
	positional, err := parseMixed(flags, args)
	name := "serve"
	if len(positional) > 0 {
		name, positional = positional[0], positional[1:]
	}
	switch {
	case errors.Is(err, flag.ErrHelp), name == "help":
		fmt.Fprint(stdout, cmp.Or(usages[name], usage))
		return exitOK
	case err != nil:
		return usageError(stderr, err.Error())
	case name == "version":
		fmt.Fprintln(stdout, "posthorn", version)
		return exitOK
	case name == "send":
		return usageError(stderr, "send comes first: posthorn send --config FILE")
	}
	if mistake := p.mistake(flags, name, positional); mistake != "" {
		return usageError(stderr, mistake)
	}
	p.args = positional
	if err := p.load(*file, name); err != nil {
		fmt.Fprintln(stderr, "posthorn: configuration:")
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	return commands[name](ctx, p)
}

// mistake says what is wrong with how a command is called.
func (p *program) mistake(flags *flag.FlagSet, name string, positional []string) string {
	switch foreign := foreignFlag(flags, name); {
	case commands[name] == nil:
		return fmt.Sprintf("there is no command %q", name)
	case len(positional) > 0 && !slices.Contains([]string{"server-config", "outbox", "token", "hook", "store"}, name):
		return fmt.Sprintf("%s takes no argument %q", name, positional[0])
	case foreign != "":
		return fmt.Sprintf("%s takes no --%s", name, foreign)
	case p.to != "" && p.as == "":
		return "check --to needs --as: who would send"
	}
	return ""
}

// load reads the configuration of a command. Who only writes templates, or copies, may have
// none.
func (p *program) load(file, command string) (err error) {
	p.config, p.configFile, err = loadConfig(file, os.Getenv)
	if file == "" && p.configFile == "" && (command == "hook" || command == "store") {
		return nil
	}
	return err
}

// foreignFlag gives a flag that was set and is another command's.
func foreignFlag(flags *flag.FlagSet, name string) (foreign string) {
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "config":
		case "json":
			if name != "outbox" && name != "token" && name != "hook" && name != "check" {
				foreign = f.Name
			}
		case "all":
			if name != "outbox" {
				foreign = f.Name
			}
		case "header", "words":
			if name != "hook" {
				foreign = f.Name
			}
		case "as", "to":
			if name != "check" {
				foreign = f.Name
			}
		default:
			if name != "token" {
				foreign = f.Name
			}
		}
	})
	return foreign
}

// parseMixed takes flags before, between and after the arguments.
func parseMixed(flags *flag.FlagSet, args []string) (positional []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return positional, err
		}
		if args = flags.Args(); len(args) == 0 {
			return positional, nil
		}
		positional, args = append(positional, args[0]), args[1:]
	}
}

func usageError(stderr io.Writer, text string) int {
	fmt.Fprintln(stderr, "posthorn: "+text)
	fmt.Fprintln(stderr, "hint: posthorn --help")
	return exitUsage
}
