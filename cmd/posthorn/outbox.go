package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"posthorn/internal/message"
	"posthorn/internal/store"
)

const outboxUsage = `usage: posthorn outbox list [--json]
       posthorn outbox show ID [--json]
       posthorn outbox retry ID|--all
       posthorn outbox drop ID|--all
`

// outbox shows and changes what is kept, in the database of the service, which may
// be running meanwhile and sees a change within a second.
func outbox(ctx context.Context, p *program) int {
	verb, id, ok := p.outboxArgs()
	if !ok {
		fmt.Fprint(p.stderr, outboxUsage)
		return exitUsage
	}
	if err := p.withStore(ctx, func(s *store.Store) error { return p.outboxDo(ctx, s, verb, id) }); err != nil {
		fmt.Fprintln(p.stderr, "posthorn: outbox:", err)
		return exitFailed
	}
	return exitOK
}

// outboxArgs reads the verb and the id that it is about; "" with --all or none.
func (p *program) outboxArgs() (verb, id string, ok bool) {
	if len(p.args) == 0 {
		return "", "", false
	}
	verb = p.args[0]
	if len(p.args) == 2 {
		id = p.args[1]
	}
	switch verb {
	case "list":
		return verb, "", len(p.args) == 1 && !p.all
	case "show":
		return verb, id, id != "" && !p.all
	case "retry", "drop":
		return verb, id, len(p.args) <= 2 && (id != "") != p.all && !p.json
	}
	return verb, id, false
}

// withStore opens the database beside the service.
func (p *program) withStore(ctx context.Context, do func(*store.Store) error) error {
	if !p.config.keeps() {
		return errors.New("nothing is kept: store is empty in the configuration")
	}
	s, err := p.config.openBeside(ctx)
	switch {
	case p.config.isNew(err):
		return fmt.Errorf("nothing was ever kept: %w", err)
	case err != nil:
		return err
	}
	stop := start(s.Run)
	defer stop()
	return do(s)
}

func (p *program) outboxDo(ctx context.Context, s *store.Store, verb, id string) error {
	switch verb {
	case "list":
		return p.outboxList(ctx, s)
	case "show":
		records, err := s.Select(ctx, message.Query{ID: id})
		if err == nil && len(records) == 0 {
			err = fmt.Errorf("no message with the id %q is known", id)
		}
		if err != nil {
			return err
		}
		return p.print(func(yield func(*message.Record)) error {
			for i := range records {
				yield(&records[i])
			}
			return nil
		})
	}
	return p.outboxChange(ctx, s, verb, id)
}

func (p *program) outboxList(ctx context.Context, s *store.Store) error {
	return p.print(func(yield func(*message.Record)) error {
		return eachPending(ctx, s, "", func(records []message.Record) error {
			for i := range records {
				yield(&records[i])
			}
			return nil
		})
	})
}

// eachPending gives what is kept page by page, in its order.
func eachPending(ctx context.Context, s *store.Store, id string, do func([]message.Record) error) error {
	const page = 256
	for after := int64(0); ; {
		records, err := s.Select(ctx, message.Query{ID: id, Open: true, After: after, Limit: page})
		if err != nil || len(records) == 0 {
			return err
		}
		after = records[len(records)-1].Seq
		if err := do(records); err != nil {
			return err
		}
	}
}

// outboxChange retries or drops what is kept with that id, or all.
func (p *program) outboxChange(ctx context.Context, s *store.Store, verb, id string) error {
	change, done := retried, "will be tried at once"
	if verb == "drop" {
		change, done = func(r message.Record) (message.Change, bool) { return dropped(r, p.config.Delivery.Remember) }, "dropped"
	}
	found, changed := 0, 0
	err := eachPending(ctx, s, id, func(records []message.Record) error {
		var changes []message.Change
		for _, r := range records {
			if c, needed := change(r); needed {
				changes = append(changes, c)
			}
		}
		found += len(records)
		n, err := settle(ctx, s, changes)
		changed += n
		return err
	})
	switch {
	case err != nil:
		return err
	case found == 0 && id != "":
		return fmt.Errorf("no message with the id %q is kept", id)
	}
	fmt.Fprintf(p.stdout, "%d of %d messages %s\n", changed, found, done)
	return nil
}

func settle(ctx context.Context, s *store.Store, changes []message.Change) (n int, err error) {
	if len(changes) == 0 {
		return 0, nil
	}
	applied, err := s.Settle(ctx, changes)
	for _, yes := range applied {
		if yes {
			n++
		}
	}
	return n, err
}

// retried puts a message that waits for something back in line.
func retried(r message.Record) (message.Change, bool) {
	before := r.State
	r.State, r.Wake = message.Queued, r.Expires
	return message.Change{Record: r, Before: before}, before != message.Queued
}

// dropped gives a message up.
func dropped(r message.Record, remember time.Duration) (message.Change, bool) {
	before := r.State
	r.State, r.Wake, r.Detail = message.Expired, time.Now().Add(remember), "dropped by the administrator"
	return message.Change{Record: r, Before: before}, true
}

// A keptMessage is what the administrator is shown. The text is none of their
// business.
type keptMessage struct {
	ID       string        `json:"id"`
	From     message.JID   `json:"from"`
	To       message.JID   `json:"to"`
	State    message.State `json:"state"`
	Attempts int           `json:"attempts"`
	Accepted time.Time     `json:"accepted"`
	Expires  time.Time     `json:"expires"`
	NextTry  *time.Time    `json:"next_try,omitempty"`
	Code     string        `json:"code,omitempty"`
	Error    string        `json:"error,omitempty"`
}

func shown(r *message.Record) keptMessage {
	k := keptMessage{
		ID: r.ID, From: r.From, To: r.To, State: r.State, Attempts: r.Attempts,
		Accepted: seconds(r.Accepted), Expires: seconds(r.Expires), Code: r.Code, Error: r.Detail,
	}
	if r.State == message.Waiting {
		next := seconds(r.Wake)
		k.NextTry = &next
	}
	return k
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// print writes records as a table, or as a JSON object a line.
func (p *program) print(each func(yield func(*message.Record)) error) error {
	if p.json {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetEscapeHTML(false)
		return each(func(r *message.Record) { _ = encoder.Encode(shown(r)) })
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tFROM\tTO\tSTATE\tATTEMPTS\tACCEPTED\tNEXT TRY\tERROR")
	err := each(func(r *message.Record) { printRow(table, shown(r)) })
	_ = table.Flush()
	return err
}

func printRow(w io.Writer, k keptMessage) {
	next := "-"
	if k.NextTry != nil {
		next = k.NextTry.Format(time.RFC3339)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", visible(k.ID), visible(string(k.From)), visible(string(k.To)), k.State, k.Attempts, k.Accepted.Format(time.RFC3339), next, visible(k.Error))
}

// visible makes what strangers wrote fit for a terminal.
func visible(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
