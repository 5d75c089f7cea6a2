package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"posthorn/internal/render"
)

const hookUsage = `usage: posthorn hook list [--json]
       posthorn hook show NAME
       posthorn hook render NAME [--header 'NAME: VALUE']... [--words] [--json] < PAYLOAD
`

// hookFlags are what the command hook is told.
type hookFlags struct {
	header http.Header
	words  bool // in place of emoji
}

func (f *hookFlags) register(flags *flag.FlagSet) {
	f.header = make(http.Header)
	flags.BoolVar(&f.words, "words", false, "")
	flags.Func("header", "", func(line string) error {
		name, value, found := strings.Cut(line, ":")
		if !found {
			return errors.New("has to be name: value")
		}
		f.header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
}

// hook shows what the templates of webhooks are, and what they make of a payload.
func hook(_ context.Context, p *program) int {
	set := render.New(p.config.Hooks.Dir)
	if err := set.Load(); err != nil {
		fmt.Fprintln(p.stderr, "posthorn: hook:", err)
	}
	var err error
	switch verb := strings.Join(p.args[:min(1, len(p.args))], ""); {
	case verb == "list" && len(p.args) == 1:
		err = p.listHooks(set)
	case verb == "show" && len(p.args) == 2:
		err = p.showHook(set, p.args[1])
	case verb == "render" && len(p.args) == 2:
		err = p.renderHook(set, p.args[1])
	default:
		fmt.Fprint(p.stderr, hookUsage)
		return exitUsage
	}
	if err != nil {
		fmt.Fprintln(p.stderr, "posthorn: hook:", err)
		return exitFailed
	}
	return exitOK
}

func (p *program) listHooks(set *render.Set) error {
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	encoder := json.NewEncoder(p.stdout)
	for _, t := range set.List() {
		from := "built in"
		switch {
		case t.Broken != nil:
			from = "broken: " + t.Broken.Error()
		case t.Own:
			from = p.config.Hooks.Dir
		}
		if p.json {
			_ = encoder.Encode(map[string]string{"name": t.Name, "from": from})
		} else {
			fmt.Fprintf(table, "%s\t%s\n", visible(t.Name), visible(from))
		}
	}
	return table.Flush()
}

func (p *program) showHook(set *render.Set, name string) error {
	text, err := set.Text(name)
	fmt.Fprint(p.stdout, text)
	return err
}

// renderHook prints what would be sent for the payload on standard input.
func (p *program) renderHook(set *render.Set, name string) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	in := render.Input{Payload: string(text), Header: p.hookFlags.header.Get, Plain: p.hookFlags.words}
	if value, err := render.ParseJSON(string(text)); err == nil {
		in.Payload = value
	}
	if name == render.Auto {
		name = render.Recognize(in)
	}
	m, err := set.Render(name, in)
	switch {
	case err != nil:
		return err
	case m.Body == "":
		fmt.Fprintf(p.stderr, "posthorn: hook: %s has nothing to say of this payload: no message is sent\n", name)
	case p.json:
		encoder := json.NewEncoder(p.stdout)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(m)
	default:
		p.printMessage(m)
	}
	return nil
}

// printMessage prints the fields on standard error, and so the body alone on standard
// output.
func (p *program) printMessage(m render.Message) {
	for _, field := range [...]struct{ name, value string }{{"subject", m.Subject}, {"type", m.Type}, {"id", m.ID}, {"oob", m.URL}, {"key", m.Key}} {
		if field.value != "" {
			fmt.Fprintf(p.stderr, "%s: %s\n", field.name, field.value)
		}
	}
	fmt.Fprintln(p.stdout, m.Body)
}

// openHooks reads the templates of webhooks. What is wrong with one is said, and does
// not keep posthorn from starting.
func openHooks(dir string, log *slog.Logger) *render.Set {
	set := render.New(dir)
	loadHooks(set, log)
	return set
}

// loadHooks reads the templates, and reports whether all of them can be used.
func loadHooks(set *render.Set, log *slog.Logger) bool {
	err := set.Load()
	if err == nil {
		return true
	}
	for problem := range strings.Lines(err.Error()) {
		log.Error("hooks.dir: a template cannot be used", "err", strings.TrimSpace(problem))
	}
	return false
}

// heedHangups reads the templates again with each hangup, until ctx ends.
func heedHangups(ctx context.Context, hangups <-chan os.Signal, set *render.Set, log *slog.Logger) {
	for {
		select {
		case <-hangups:
			if loadHooks(set, log) {
				log.Info("the templates of webhooks were read again", "reason", "SIGHUP")
			}
		case <-ctx.Done():
			return
		}
	}
}
