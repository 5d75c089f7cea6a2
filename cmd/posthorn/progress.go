package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// A progress is a request's body that says how much of it was sent.
type progress struct {
	out  io.Writer
	body input
	sent atomic.Int64 // bytes
	over atomic.Bool  // all was read
}

// Read is the transport's.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.sent.Add(int64(n))
	p.over.Store(err != nil || p.sent.Load() == p.body.size)
	return n, err
}

// run writes a line that is renewed each second, the first time after one, and
// erases it when ctx ends.
func (p *progress) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	width := 0
	for {
		select {
		case <-tick.C:
			line := p.line()
			fmt.Fprintf(p.out, "\r%-*s", width, line)
			width = len(line)
		case <-ctx.Done():
			if width > 0 {
				fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", width))
			}
			return
		}
	}
}

func (p *progress) line() string {
	sent := p.sent.Load()
	switch {
	case sent == 0 && !p.over.Load() && p.body.size != 0:
		return "connecting"
	case p.over.Load() || p.body.size == 0:
		return "waiting for posthorn"
	case p.body.size < 0:
		return "sent " + inKiB(sent)
	}
	return "sent " + inKiB(sent) + " of " + inKiB(p.body.size)
}

func inKiB(n int64) string { return fmt.Sprintf("%d KiB", (n+1023)>>10) }

// isTerminal reports whether somebody may be looking: at a device that takes
// characters. So is /dev/null, which does not mind.
func isTerminal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	if !isFile {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
