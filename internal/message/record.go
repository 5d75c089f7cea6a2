package message

import (
	"context"
	"time"
)

// A Record is one message that is kept, and what has become of it so far.
type Record struct {
	// Seq is the order in which messages go, and names a record: when it was accepted,
	// in nanoseconds since 1970, made different for each; or, where several posthorns
	// share a store, a number that the store gives.
	Seq      int64
	Accepted time.Time
	From, To JID
	ID       string
	Message  *Message // nil once its outcome is final: texts are not kept longer

	State    State
	Attempts int       // how often it was handed over
	Code     string    // the kind of the last failure, as package fault names it; "": none
	Detail   string    // the last failure in one line
	Expires  time.Time // when it is given up
	Wake     time.Time // when it is to be looked at: for its next try, its end, or to be forgotten
	Size     int64     // bytes that it counts for

	// Of a request with an idempotency key, else "".
	Scope  string // names the request
	Digest string // of what it asked for

	// Where several posthorns share a store, else zero.
	Term  int64 // of the lease under which it was claimed last; 0: it never was
	Waits bool  // whoever sent it waits for its outcome, and can be told of any
}

// A State is what has become of a message that is kept.
type State string

const (
	Queued      State = "queued"      // in line
	Waiting     State = "waiting"     // for its next try: others may pass it
	Unconfirmed State = "unconfirmed" // is on the stream and may have been delivered: waits for the next stream

	// Final, as a Status is, or:
	Bounced  State = "bounced"  // refused for good
	Rejected State = "rejected" // ended the stream twice
	Expired  State = "expired"  // given up: too old, or an administrator said so

	// Failed: was not sent and not kept, and whoever sent it was told so. The same
	// request may try again.
	Failed State = "failed"
)

// Pending reports whether a message in that state is still to be sent.
func (s State) Pending() bool { return s == Queued || s == Waiting || s == Unconfirmed }

// A Change is what a record becomes, if it is still what it was before.
type Change struct {
	Record
	Before State
	// Under is the term under which its message was handed over, whose outcome the change
	// is, or under which one that leads decides: it is void once there is a later one. 0: it
	// is the decision of somebody else.
	Under int64
}

// A Request is what one sender asks for at once: one message for each recipient.
type Request struct {
	Messages []*Message
	Scope    string // names it, where a client gave an idempotency key; "": none was given
	Digest   string // of what it asks for, so that another one with the same key is told apart

	Update string // what its messages are about: each corrects the earlier one about that; "": nothing
	Fresh  bool   // its own correct nothing, though later ones correct them

	// Prepare completes the messages, by what takes time and leaves traces. It is called
	// once, before any of them is kept or sent, and not for a repetition of a request by
	// which nothing is sent; nil: they are complete. An error of its is that of the request.
	Prepare func(context.Context) error
}

// An Original is a message that later ones about the same thing correct (XEP-0308):
// the last one that was no correction itself.
type Original struct {
	From, To JID
	Key      string // what it is about
	ID       string
	Expires  time.Time // when it is not corrected any more
}

// An Outcome is what became of one message.
type Outcome struct {
	Status Status
	Err    error // a *fault.Error; nil: Status holds
}

// A Query says which records are meant; its zero fields mean all.
type Query struct {
	From   JID
	ID     string
	Scope  string
	Seqs   []int64 // only these; nil: any
	State  State
	Final  bool      // only those that are not pending
	Open   bool      // only those that are
	After  int64     // only those whose Seq is larger
	WakeBy time.Time // only those to be looked at by then, in that order, and not in that of Seq
	Newest bool      // the newest first
	Limit  int       // at most so many
}

// A Line is what one sender has in line, after some Seq.
type Line struct {
	From  JID
	After int64
}

// A Pile is how many records of one sender, recipient and state there are.
type Pile struct {
	From, To JID
	State    State
	Count    int
	Size     int64 // bytes that they count for
}

// An Overview is what one sender may know of what is kept.
type Overview struct {
	Kept   int      // messages that are still to be sent, of everybody
	Own    int      // of them the sender's
	Newest []Record // that the sender sent, the newest first, with or without an outcome
}
