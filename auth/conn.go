package auth

import (
	"fmt"
	"net"
	"syscall"
)

// A conn counts what the server sends, so that a stream which never ends has
// an end, and has each read acknowledged at once.
type conn struct {
	net.Conn
	raw  syscall.RawConn // nil where there is no socket
	left int             // bytes that may still come
}

func newConn(c net.Conn) *conn {
	wrapped := &conn{Conn: c, left: maxConnectionBytes}
	if socket, ok := c.(syscall.Conn); ok {
		wrapped.raw, _ = socket.SyscallConn()
	}
	return wrapped
}

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the server sent more than %d bytes", maxConnectionBytes)
	}
	if c.raw != nil {
		quickACK(c.raw)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
