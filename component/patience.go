package component

import "time"

// lastWords is what a stream error may take to arrive after a write failed, and a
// goodbye to be answered.
const lastWords = time.Second

// A patience is how long a server that may be dead is waited for. None of it is
// longer than [Options.Patience], nor is what follows one upon another.
type patience struct {
	keepAlive time.Duration // without a barrier: then one goes out
	stalled   time.Duration // for a barrier, while none comes back
	tick      time.Duration // how often the monitor looks
	handshake time.Duration // dial and handshake together: a server that is frozen still accepts connections, in its kernel
	write     time.Duration // one write
	batch     int           // messages before a barrier
}

// newPatience divides what there is in all. On a stream where nothing is said it goes
// by in this order: keepAlive, a tick, stalled, a tick, lastWords.
func newPatience(all time.Duration) patience {
	if all == 0 {
		all = 30 * time.Second
	}
	part := (all - lastWords) / (7 + 1 + 20 + 1)
	p := patience{keepAlive: 7 * part, stalled: 20 * part, tick: part}
	p.handshake = min(p.stalled, 10*time.Second)
	p.write = p.handshake
	// In less time a server does fewer: one that is slow would else be taken for one that is
	// silent, and be sent the same again and again.
	p.batch = max(1, min(batchMessages, int(batchMessages*p.stalled/(20*time.Second))))
	return p
}
