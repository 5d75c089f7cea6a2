// Command demo shows posthorn at work on a throw-away server: `make demo`.
//
//  1. It starts a real Prosody in a temporary directory, from
//     deploy/prosody.cfg.lua, with the accounts me@ and user@example.com.
//  2. It writes a posthorn.yaml and runs `posthorn serve` with it.
//  3. It logs in as user@example.com, runs the README's curl, and prints the
//     message as that user received it.
//  4. It stays up, printing what else arrives, until it is interrupted; with
//     -once it ends after the message.
//
// It exits 1 when a step fails or the message is not what it must be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"posthorn/internal/xmpptest"
)

// What the README's example says.
const (
	sender    = "me@example.com"
	recipient = "user@example.com"
	password  = "mypassword"
	text      = "Server@host has just crashed!"
)

// Each step has its bound, so that a demonstration never just hangs.
const (
	readyTimeout   = 30 * time.Second
	loginTimeout   = 30 * time.Second
	curlTimeout    = 20 * time.Second
	messageTimeout = 10 * time.Second
)

func main() {
	binary := flag.String("posthorn", filepath.Join("bin", "posthorn"), "the posthorn `binary` to run")
	once := flag.Bool("once", false, "end after the first message")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *binary, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, binary string, once bool) (err error) {
	say("Prosody starts, with deploy/prosody.cfg.lua and the accounts %s and %s.", sender, recipient)
	prosody, err := startProsody()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, prosody.Close()) }()

	say("posthorn starts beside it: %s serve", binary)
	posthorn, err := startPosthorn(ctx, binary, prosody)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, posthorn.process.Stop()) }()

	user, err := login(ctx, prosody)
	if err != nil {
		return err
	}
	defer user.Close()
	if err := send(ctx, posthorn.address, user); err != nil {
		return fmt.Errorf("%w\n%s", err, posthorn.log())
	}
	if once {
		return nil
	}
	say("\nTry it yourself, or open http://%s/ and sign in as %s with %s; Ctrl-C ends it:\n\n  %s\n", posthorn.address, sender, password, shell(curl(posthorn.address)))
	return printArriving(ctx, user, posthorn)
}

func startProsody() (*xmpptest.Prosody, error) {
	p, err := xmpptest.Open(xmpptest.Options{})
	if err != nil {
		return nil, err
	}
	for _, account := range []string{sender, recipient} {
		if err := p.AddUser(account, password); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

func login(ctx context.Context, p *xmpptest.Prosody) (*xmpptest.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	return p.Login(ctx, recipient, password)
}

// send is the demonstration itself: one curl, one message.
func send(ctx context.Context, address string, user *xmpptest.Client) error {
	command := curl(address)
	say("\n$ %s", shell(command))
	answer, err := run(ctx, command)
	if err != nil {
		return err
	}
	say("%s", answer)
	ctx, cancel := context.WithTimeoutCause(ctx, messageTimeout,
		fmt.Errorf("the message did not come within %v", messageTimeout))
	defer cancel()
	m, err := user.Receive(ctx)
	if err != nil {
		return err
	}
	say("\n%s received:\n%s", recipient, show(m))
	if m.From != sender || m.Body != text {
		return fmt.Errorf("it should have been from %s: %q", sender, text)
	}
	return nil
}

// printArriving prints messages until the user interrupts, or something ends.
func printArriving(ctx context.Context, user *xmpptest.Client, posthorn *posthorn) error {
	for {
		select {
		case m, open := <-user.Messages():
			if !open {
				return errors.New("prosody ended the stream")
			}
			say("%s received:\n%s\n", recipient, show(m))
		case <-posthorn.process.Done():
			return fmt.Errorf("posthorn ended: %v\n%s", posthorn.process.Err(), posthorn.log())
		case <-ctx.Done():
			return nil
		}
	}
}

func show(m xmpptest.Message) string {
	return fmt.Sprintf("  from: %s\n  to:   %s\n  type: %s\n  body: %s", m.From, m.To, m.Type, m.Body)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
