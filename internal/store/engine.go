package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/message"
)

// An engine is in what one kind of database differs from another. Immutable after New.
type engine struct {
	name    string                                                 // of the database, for a person: nothing in it is secret
	words   *strings.Replacer                                      // makes its SQL of ours
	among   func(n int, seqs []int64) (condition string, list any) // on seq, with the argument $n
	begin   string                                                 // a transaction
	try     string                                                 // statements that show whether something can be written, and change nothing
	room    string                                                 // the same where a database has failed: that there is room; "": try shows it
	writers int                                                    // goroutines that commit
	limit   time.Duration                                          // of what one transaction takes; 0: as long as it takes
	idle    time.Duration                                          // after which it is seen to whether it still works; 0: never

	open func(context.Context, *Store) (*database, error)
	// together commits writes that put and settle, or those that stop waiting, in few
	// statements, and all others have a transaction each; nil: all are done one after
	// another in one.
	together func(*connection, []*write) error
	claim    func(c *connection, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error)
	changed  func(context.Context, *Store) (bool, error)
	judge    func(error) verdict
	explain  func(error) string // what a person can do about it; "": what the error says
}

// A verdict says what an error of the database means for what comes after it.
type verdict int

const (
	unknown   verdict = iota // it is opened anew before it is used
	tableless                // so is one without our tables
	damaged                  // so is one that cannot be read
	passing                  // it is sound, and will work some time
	refused                  // the error is of what was to be written, and a mistake of ours
	unfit                    // it is of what was to be written, and of what texts hold
	contended                // somebody was quicker: alone it may succeed
	blocked                  // somebody has what it needs, and it was waited for in vain
	unsent                   // the connection has gone, before anything was written
	lost                     // the connection has gone, and what was to be written may have been
	fine                     // there is none
)

// within gives a context for one transaction.
func (e *engine) within() (context.Context, context.CancelFunc) {
	if e.limit == 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), e.limit)
}

// spell writes a statement as the engine calls things.
func (e *engine) spell(statement string) string { return e.words.Replace(statement) }

var (
	errDamaged    = errors.New("quick_check found")
	errUnreadable = errors.New("cannot be read")
	errNewer      = errors.New("was made by a newer posthorn: use that one")
	errOlder      = errors.New("was made by an older posthorn: start the service once")
)

// ErrNothing: a database of PostgreSQL's has no tables yet.
var ErrNothing = errors.New("has nothing of posthorn's yet: start the service once")

// explain says of an error of the database what a person can do about it, in one line.
func (s *Store) explain(err error) error {
	what := s.engine.explain(err)
	switch {
	case errors.Is(err, errNewer), errors.Is(err, errOlder), errors.Is(err, ErrNothing), errors.Is(err, errURL), errors.Is(err, errFile), errors.Is(err, errEncoding):
		return fmt.Errorf("store: %s %w", s.engine.name, err)
	case what == "":
		return fmt.Errorf("store: %s: %w", s.engine.name, oneLine(err))
	}
	return &explained{"store: " + s.engine.name + " " + what, oneLine(err)}
}

// An explained error says first what a person can do about it.
type explained struct {
	what string
	err  error
}

func (e *explained) Error() string { return e.what + ": " + e.err.Error() }
func (e *explained) Unwrap() error { return e.err }

// gist is what an error says that is worth another line in the log: of a network's, whose
// words differ each time by a port, what a person can do.
func (s *Store) gist(err error) string {
	var e *explained
	if s.others != nil && errors.As(err, &e) {
		return e.what
	}
	return err.Error()
}

// oneLine gives err with its text in one line.
func oneLine(err error) error {
	if text := err.Error(); strings.ContainsAny(text, "\n\t") {
		return &reworded{strings.Join(strings.Fields(text), " "), err}
	}
	return err
}

type reworded struct {
	text string
	err  error
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.err }
