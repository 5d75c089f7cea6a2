package message

import "time"

// A Lease says which of several posthorns that share a store may use the stream to the
// XMPP server, and until when.
type Lease struct {
	Holder string        // the name of the posthorn; "": nobody's
	Term   int64         // counts the holders: a later one has a larger one
	Left   time.Duration // until it expires, by the store's clock; not positive: it has
	Stream string        // what its holder's stream is like, as State.String of package component; "": not told yet
}
