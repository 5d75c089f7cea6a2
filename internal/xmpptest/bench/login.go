package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A command is a program that is started for each message, as cron does.
type command struct {
	name string
	args []string
	env  []string
	in   string // its standard input
	want string // what it must print; empty: it must only succeed
}

// run starts it again and again, so many at once, for that long.
func (c command) run(ctx context.Context, atOnce int, span time.Duration) (perSecond float64, sent int, err error) {
	var under sync.WaitGroup
	var done atomic.Int64
	failed := make([]error, atOnce)
	began := time.Now()
	for i := range failed {
		under.Go(func() {
			for time.Since(began) < span && failed[i] == nil {
				failed[i] = c.once(ctx)
				done.Add(1)
			}
		})
	}
	under.Wait()
	took := time.Since(began)
	sent = int(done.Load())
	return float64(sent) / took.Seconds(), sent, errors.Join(failed...)
}

func (c command) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Env, cmd.Stdin = c.env, strings.NewReader(c.in)
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), c.want) {
		err = errors.New("unexpected output")
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", c.name, err, out)
	}
	return nil
}

// logIn is go-sendxmpp: each message is a connection, TLS, a login and a
// session. It trusts the test's authority, and finds no settings of the user's.
func (s *site) logIn() command {
	return command{name: "go-sendxmpp", in: text,
		args: []string{"--username", eight[0], "--password", password, "--jserver", s.prosody.ClientAddress, recipient},
		env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.prosody.Dir, "SSL_CERT_FILE=" + s.prosody.CAFile}}
}

// curl is the same through posthorn: a process for each message, too.
func (s *site) curl() command {
	return command{name: "curl", want: `"status":"delivered"`,
		args: []string{"--disable", "--silent", "--show-error", "--noproxy", "*", "-u", eight[0] + ":" + password,
			"-H", "Content-Type: text/plain", "-d", text, "http://" + s.posthorn.address + "/msg/user"},
		env: []string{"PATH=" + os.Getenv("PATH")}}
}

const loginsProse = `
Messages a second for who starts a program for each, as cron jobs do: curl through
posthorn, and go-sendxmpp, which logs in each time; one after another and four at
once. Prosody's processor time is that for one message, the recipient's part
included.
`

// logins: a program a message.
func logins(ctx context.Context, b bench) (_ section, err error) {
	if _, err := exec.LookPath("go-sendxmpp"); err != nil {
		return section{}, fmt.Errorf("%w: run `.ci/deps bench`, or install the package go-sendxmpp", err)
	}
	s, err := openSite(ctx, b.binary)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	t := table{{"at once", "curl and posthorn, messages/s", "go-sendxmpp, messages/s", "ratio", "Prosody's processor, posthorn", "Prosody's processor, go-sendxmpp"}}
	for _, atOnce := range []int{1, 4} {
		var rate, cost comparison
		for range b.rounds {
			if err := s.logInRound(ctx, atOnce, b.span, &rate, &cost); err != nil {
				return section{}, err
			}
		}
		t.add(fmt.Sprint(atOnce), count(median(rate.ours)), count(median(rate.theirs)), times(rate.ratio()),
			seconds(median(cost.ours)), seconds(median(cost.theirs)))
	}
	return section{"A program for each message", loginsProse, []table{t}}, nil
}

func (s *site) logInRound(ctx context.Context, atOnce int, span time.Duration, rate, cost *comparison) error {
	var rates, costs [2]float64
	for i, c := range []command{s.curl(), s.logIn()} {
		before, err := processorTime(s.prosody.Pid())
		if err != nil {
			return err
		}
		perSecond, sent, err := c.run(ctx, atOnce, span)
		if err != nil {
			return err
		}
		if err := s.inbox.await(ctx, sent); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		after, err := processorTime(s.prosody.Pid())
		if err != nil {
			return err
		}
		rates[i], costs[i] = perSecond, (after-before).Seconds()/float64(sent)
	}
	rate.add(rates[0], rates[1])
	cost.add(costs[0], costs[1])
	return nil
}
