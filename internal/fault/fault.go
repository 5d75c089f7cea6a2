// Package fault is the one shape in which an error crosses a package border:
// a kind from a closed list, a line that is safe to show to whoever asked, and
// the cause, which only the log sees.
//
// Which HTTP status a kind becomes is not decided here but in one table of
// package httpapi.
package fault

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Kind says what sort of failure an Error is. The list is closed: every
// kind has a row in httpapi's error table, and a test keeps it so.
type Kind int

// The zero Kind is Internal, so that a forgotten kind is loud.
const (
	Internal         Kind = iota // a mistake of ours
	Malformed                    // the request itself does not parse
	Unauthenticated              // who is it?
	Forbidden                    // known, and not allowed
	NoSuchPage                   // no such path here
	NoSuchMessage                // nothing is known of a message of that id
	Undeliverable                // the server would not deliver to this recipient
	MethodNotAllowed             // the path takes other methods
	SlowRequest                  // the request did not arrive in time
	Conflict                     // the same message is under way already
	TooLarge                     // more bytes than the limit
	Unsupported                  // a media type, charset or encoding we do not read
	Unsendable                   // understood, but no message can be made of it
	Rejected                     // the server ended the stream because of this message, twice
	Throttled                    // too many wrong passwords: no more are checked now
	RateLimited                  // more messages than one sender may send
	RemoteFailed                 // the recipient's server failed
	Unavailable                  // nothing can be sent or checked now
	Unconfirmed                  // written, but no answer in time: it may have been delivered

	kinds // how many there are
)

// names are what kinds are called, for programs: stable, and kept in databases.
// Never written to.
var names = [kinds]string{
	Internal:         "internal",
	Malformed:        "malformed",
	Unauthenticated:  "unauthenticated",
	Forbidden:        "forbidden",
	NoSuchPage:       "no-such-page",
	NoSuchMessage:    "no-such-message",
	Undeliverable:    "undeliverable",
	MethodNotAllowed: "method-not-allowed",
	SlowRequest:      "slow-request",
	Conflict:         "conflict",
	TooLarge:         "too-large",
	Unsupported:      "unsupported",
	Unsendable:       "unsendable",
	Rejected:         "rejected",
	Throttled:        "throttled",
	RateLimited:      "rate-limited",
	RemoteFailed:     "remote-failed",
	Unavailable:      "unavailable",
	Unconfirmed:      "unconfirmed",
}

// String gives the kind's name.
func (k Kind) String() string {
	if k < 0 || k >= kinds {
		k = Internal
	}
	return names[k]
}

// KindOf finds the kind of that name, Internal where there is none.
func KindOf(name string) Kind {
	return Kind(max(0, slices.Index(names[:], name)))
}

// Kinds lists every kind, for the tests that keep the tables complete.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// An Error is a failure that a caller outside the package may have to explain.
type Error struct {
	Kind   Kind
	Public string // one line a person can act on, without secrets
	Err    error  // the cause, for the log; may be nil

	Passing bool          // it may be otherwise later, without anybody's doing
	Wait    time.Duration // until trying again makes sense; 0: as long as for others of the kind
}

// New makes an Error without a cause; format and args give the public line.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Public: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error from a cause; format and args give the public line,
// which does not repeat the cause.
func Wrap(err error, kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Public: fmt.Sprintf(format, args...), Err: err}
}

// MayPass says of e that trying again later makes sense, and gives it back.
func (e *Error) MayPass() *Error {
	e.Passing = true
	return e
}

// After says of e how long to wait until trying again, and gives it back.
func (e *Error) After(wait time.Duration) *Error {
	e.Wait = wait
	return e
}

// Error gives the public line and the cause: text for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Public
	}
	return e.Public + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Of finds the Error in err's chain. An error without one is Internal and
// says nothing in public.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Err: err}
}
