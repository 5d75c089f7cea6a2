package component

import (
	"errors"
	"net"
	"slices"
)

// errMayNot ends a session that [Options.May] has said no to.
var errMayNot = errors.New("it may be another posthorn's now")

// pieceBytes is what a yes is good for: a write into a full socket goes on when there
// is room again, and by then the stream may be another's.
const pieceBytes = 16 << 10

// A fence asks before each write whether the stream is still ours, and ends the
// connection where it is not.
type fence struct {
	net.Conn
	may func() bool
}

func (f *fence) Write(p []byte) (written int, err error) {
	for piece := range slices.Chunk(p, pieceBytes) {
		if !f.may() {
			_ = f.Close()
			return written, errMayNot
		}
		n, err := f.Conn.Write(piece)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// may reports whether the stream is ours.
func (c *Component) may() bool { return c.opts.May == nil || c.opts.May() }
