package xmpptest

import (
	"io"
	"net"
	"sync"
	"time"
)

// A Wire says how bytes travel in one direction. The zero Wire is a good one.
type Wire struct {
	Stalled bool          // nothing arrives, and nobody is told: as where packets are dropped
	Delay   time.Duration // before each piece
	Single  bool          // one byte at a time
}

// A Proxy stands on 127.0.0.1 before a server and does to the connections
// through it what networks do. All methods may be called at any time.
type Proxy struct {
	Address string // where it listens

	// Immutable after OpenProxy.
	target   string
	listener net.Listener
	running  sync.WaitGroup // accept and each pump

	// Guarded by mu.
	mu       sync.Mutex
	wires    [2]Wire       // to the server and from it
	changed  chan struct{} // closed when wires are not the same any more
	links    map[*link]struct{}
	accepted int
	refusing bool
	closed   bool
}

// A link is one connection through the proxy. Its ends are immutable.
type link struct {
	client, server *net.TCPConn
	abandoned      bool // guarded by the proxy's mu
}

const (
	toServer = iota
	fromServer
)

// OpenProxy listens before the server at the TCP address target.
func OpenProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		Address: listener.Addr().String(), target: target, listener: listener,
		changed: make(chan struct{}), links: make(map[*link]struct{}),
	}
	p.running.Go(p.accept)
	return p, nil
}

// Set changes the wires, of the connections that there are and of those to come.
func (p *Proxy) Set(to, from Wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wires = [2]Wire{to, from}
	p.notify()
}

// Abandon stalls the connections that there are for good, whatever Set says;
// those to come are not concerned.
func (p *Proxy) Abandon() { p.abandon(true) }

func (p *Proxy) abandon(abandoned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.abandoned = abandoned
	}
	p.notify()
}

// notify wakes those that await a wire. The caller holds mu.
func (p *Proxy) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Cut ends every connection, on both sides, in the manner of a process that
// ends (FIN).
func (p *Proxy) Cut() { p.end(-1) }

// Reset ends them with a reset (RST), which also throws away what has arrived
// and was not read.
func (p *Proxy) Reset() { p.end(0) }

func (p *Proxy) end(linger int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		_, _ = l.client.SetLinger(linger), l.server.SetLinger(linger)
		l.close()
	}
}

func (l *link) close() { _, _ = l.client.Close(), l.server.Close() }

// Refuse ends every connection as Cut does, and those to come at once, until it is
// called with false.
func (p *Proxy) Refuse(refusing bool) {
	p.mu.Lock()
	p.refusing = refusing
	p.mu.Unlock()
	if refusing {
		p.Cut()
	}
}

// Accepted is how many connections there have been.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Close ends everything and waits for it.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Set(Wire{}, Wire{})
	p.abandon(false)
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", p.target, time.Second)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.join(&link{client: client.(*net.TCPConn), server: server.(*net.TCPConn)})
	}
}

// join starts the two pumps of a connection.
func (p *Proxy) join(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted++
	p.links[l] = struct{}{}
	if p.closed || p.refusing {
		l.close()
	}
	p.running.Go(func() { p.pump(l, toServer, l.server, l.client) })
	p.running.Go(func() { p.pump(l, fromServer, l.client, l.server) })
}

// pump carries bytes in one direction until either end is closed, and then
// closes both.
func (p *Proxy) pump(l *link, direction int, to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err == nil {
			err = p.carry(l, direction, to, buf[:n])
		}
		if err != nil {
			break
		}
	}
	p.await(l, direction) // the end of a connection does not get through either
	p.mu.Lock()
	defer p.mu.Unlock()
	l.close()
	delete(p.links, l)
}

// carry writes data as the wire has it.
func (p *Proxy) carry(l *link, direction int, to io.Writer, data []byte) error {
	for len(data) > 0 {
		wire := p.await(l, direction)
		if wire.Delay > 0 {
			<-time.After(wire.Delay)
		}
		n := len(data)
		if wire.Single {
			n = 1
		}
		if _, err := to.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// await gives the wire of a connection once it is not stalled.
func (p *Proxy) await(l *link, direction int) Wire {
	for {
		p.mu.Lock()
		wire, changed, stalled := p.wires[direction], p.changed, p.wires[direction].Stalled || l.abandoned
		p.mu.Unlock()
		if !stalled {
			return wire
		}
		<-changed
	}
}
