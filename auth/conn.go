package auth

import (
	"fmt"
	"net"

	"posthorn/internal/stream"
)

// A conn counts what the server sends, so that a stream which never ends has
// an end, and has each read acknowledged at once.
type conn struct {
	net.Conn
	left int // bytes that may still come
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: stream.QuickACK(c), left: maxConnectionBytes}
}

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the server sent more than %d bytes", maxConnectionBytes)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
