package component

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

const (
	// maxInquiries bounds those that nobody has answered yet, and with them what is
	// written for them: who looks for a service asks a few dozen at once.
	maxInquiries = 256
	// answerWait is what a service of the same server may take, and one of another.
	answerWait = 10 * time.Second
)

// An inquiry names an IQ of ours to somebody else by all that its answer has to agree
// with: an id alone, a stranger might have seen.
type inquiry struct {
	asker message.JID // an address of our domain
	of    string      // whom we asked: the server vouches for its address
	id    string
}

// inquiries are those that wait for their answer. They are for the stream that is up.
type inquiries struct {
	out chan []byte // ask sends, the session's writer receives; capacity maxInquiries

	mu      sync.Mutex
	pending map[inquiry]chan *stream.Element // guarded by mu; each of capacity 1, closed when its stream has ended
}

func newInquiries() *inquiries {
	return &inquiries{out: make(chan []byte, maxInquiries), pending: make(map[inquiry]chan *stream.Element)}
}

// ask puts an inquiry of type get on the stream and waits for its answer, a result or
// an error. The error is a *fault.Error of the kind Unavailable.
func (c *Component) ask(ctx context.Context, asker message.JID, of, payload string) (*stream.Element, error) {
	q := inquiry{asker, of, rand.Text()}
	if c.State() != Up {
		return nil, nobodyThere()
	}
	answer := c.inquiries.add(q, payload)
	if answer == nil {
		return nil, fault.New(fault.Unavailable, "posthorn is asking the XMPP server too much already: try again").MayPass()
	}
	defer c.inquiries.remove(q)
	timeout := time.NewTimer(answerWait)
	defer timeout.Stop()
	select {
	case e := <-answer:
		if e == nil {
			return nil, nobodyThere()
		}
		return e, nil
	case <-timeout.C:
		return nil, fault.New(fault.Unavailable, "%s did not answer in time: try again", of).MayPass()
	case <-ctx.Done():
		return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "%s did not answer in time: try again", of).MayPass()
	}
}

// nobodyThere is the answer while there is no stream.
func nobodyThere() *fault.Error {
	return fault.New(fault.Unavailable, "there is no connection to the XMPP server now, and without it no place for a file: try again").MayPass()
}

// add registers an inquiry before it can be answered, and hands it to the writer; nil
// where there are too many.
func (a *inquiries) add(q inquiry, payload string) <-chan *stream.Element {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) >= maxInquiries {
		return nil
	}
	select {
	case a.out <- appendInquiry(nil, q, payload):
	default: // nobody waits any more for what is there, but it is not written yet
		return nil
	}
	answer := make(chan *stream.Element, 1)
	a.pending[q] = answer
	return answer
}

func (a *inquiries) remove(q inquiry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, q)
}

// answered hands on the answer to an inquiry, once.
func (a *inquiries) answered(iq *stream.Element) bool {
	if kind := iq.Attr("type"); kind != "result" && kind != "error" {
		return false
	}
	q := inquiry{message.JID(iq.Attr("to")), iq.Attr("from"), iq.Attr("id")}
	a.mu.Lock()
	defer a.mu.Unlock()
	answer, ours := a.pending[q]
	if ours {
		answer <- iq
		delete(a.pending, q)
	}
	return ours
}

// end is for the end of a stream, on which the answers would have come.
func (a *inquiries) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for q, answer := range a.pending {
		close(answer)
		delete(a.pending, q)
	}
	for {
		select {
		case <-a.out:
		default:
			return
		}
	}
}

// appendInquiry writes the IQ around its payload.
func appendInquiry(dst []byte, q inquiry, payload string) []byte {
	dst = append(dst, "<iq type='get'"...)
	dst = appendAttr(dst, "from", string(q.asker))
	dst = appendAttr(dst, "to", q.of)
	dst = appendAttr(dst, "id", q.id)
	dst = append(dst, '>')
	dst = append(dst, payload...)
	return append(dst, "</iq>"...)
}
