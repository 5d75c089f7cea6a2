package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgress: nothing within a second, then a line that is renewed and at the end
// erased.
func TestProgress(t *testing.T) {
	for _, size := range []int64{-1, 3000} {
		t.Run(fmt.Sprint("of size ", size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out, shown := &lines{t: t}, ""
				p := &progress{out: out, body: input{strings.NewReader(strings.Repeat("x", 3000)), size}}
				stop := start(p.run)
				shows := func(more string) {
					t.Helper()
					synctest.Wait()
					if shown += more; out.String() != shown {
						t.Errorf("has shown %q, want %q", out, shown)
					}
				}
				step := func(n int64) {
					_, _ = io.CopyN(io.Discard, p, n)
					time.Sleep(time.Second)
				}
				time.Sleep(time.Second - time.Millisecond)
				shows("")
				time.Sleep(time.Millisecond)
				shows("\rconnecting")
				step(2000)
				if size < 0 {
					shows("\rsent 2 KiB")
				} else {
					shows("\rsent 2 KiB of 3 KiB")
				}
				step(1001) // and its end
				shows("\rwaiting for posthorn")
				stop()
				shows("\r" + strings.Repeat(" ", len("waiting for posthorn")) + "\r")
			})
		})
	}
}

// TestProgressWithin: what is done within a second leaves no trace.
func TestProgressWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stop := start((&progress{out: &out}).run)
		time.Sleep(time.Second - time.Millisecond)
		stop()
		if out.Len() > 0 {
			t.Errorf("shows %q", out.String())
		}
	})
}

// TestSendOnTerminal: who waits at a terminal sees for what, until there is an
// answer.
func TestSendOnTerminal(t *testing.T) {
	seen := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-seen
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	screen, terminal := openTerminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := as(server.URL).command(ctx, "user", "hello")
	cmd.Stderr = terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	watch := bufio.NewReader(screen)
	for shown := ""; !strings.HasSuffix(shown, "waiting for posthorn"); {
		b, err := watch.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q", err, shown)
		}
		shown += string(b)
	}
	close(seen)
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		t.Errorf("ended with %v, want status 1", err)
	}
	rest, _ := io.ReadAll(watch) // which ends in EIO, since nobody has the terminal any more
	erased := "\r" + strings.Repeat(" ", len("waiting for posthorn")) + "\r"
	if i := strings.Index(string(rest), erased); i < 0 || !strings.HasPrefix(string(rest)[i+len(erased):], "posthorn: send: ") {
		t.Errorf("shows in the end %q", rest)
	}
}

// openTerminal gives both ends of a terminal (pty(7)).
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	fd := int(screen.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}
