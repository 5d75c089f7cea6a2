package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/component"
	"posthorn/internal/secret"
	"posthorn/internal/xmpptest"

	"github.com/prometheus/client_golang/prometheus"
)

// TestThroughput: the first measurement in a moment, with every check in place.
// What it measures then means nothing.
func TestThroughput(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "posthorn")
	if out, err := exec.Command("go", "build", "-o", binary, "posthorn/cmd/posthorn").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := throughput(ctx, bench{binary: binary, rounds: 1, span: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.tables) == 0 || len(s.tables[0]) != len(levels())+1 {
		t.Fatalf("the table is\n%s", s.markdown())
	}
}

// TestNothing: posthorn's component takes it for a Prosody that allows direct
// mode and tells of failures.
func TestNothing(t *testing.T) {
	n, err := openNothing()
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	c := component.New(component.Options{Domain: xmpptest.ComponentDomain, Secret: secret.New("any"), Address: n.address(),
		Hosts: []string{xmpptest.Domain}, MaxStanza: 1 << 16,
		ConfirmTimeout: time.Minute, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	reports, err := c.Check(t.Context(), false)
	if err != nil || len(reports) != 1 || reports[0].Mode != "direct" || !reports[0].Tells {
		t.Fatalf("Check() = %+v, %v", reports, err)
	}
}

// TestPieces: however the bytes are cut, each piece ends where its text does.
func TestPieces(t *testing.T) {
	const text = "<message>1</message><iq >2</iq><message>3</message><message>4</message><iq >5</iq><iq >6</iq>"
	for size := 1; size <= len(text); size++ {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
				io.WriteString(theirs, rest[:min(size, len(rest))])
			}
		}()
		in := pieces{conn: ours, buf: make([]byte, 64)}
		var got []string
		for {
			piece, err := in.until("</iq>")
			if err != nil {
				break
			}
			got = append(got, string(piece))
		}
		// The buffer holds no more than the end of the second piece.
		if len(got) != 3 || got[0] != text[:31] || !strings.HasSuffix(got[1], "<iq >5</iq>") || got[2] != "<iq >6</iq>" {
			t.Fatalf("in pieces of %d bytes: %q", size, got)
		}
	}
}

func TestCheckAnswer(t *testing.T) {
	l := &load{status: created, contains: "delivered"}
	const header = "HTTP/1.1 201 Created\r\nContent-Length: 11\r\nX: y\r\n\r\n"
	for _, test := range []struct {
		answer string
		whole  bool
		wrong  bool
	}{
		{"", false, false},
		{header[:len(header)-2], false, false},
		{header, false, false},
		{header + `"delivered`, false, false},
		{header + `"delivered"`, true, false},
		{header + `"delivered"x`, false, true},
		{header + `"delayed"  `, false, true},
		{strings.Replace(header, "201", "503", 1) + `"delivered"`, false, true},
		{"HTTP/1.1 201 Created\r\n\r\n", false, true},
	} {
		if whole, err := l.check([]byte(test.answer)); whole != test.whole || (err != nil) != test.wrong {
			t.Errorf("check(%q) = %t, %v", test.answer, whole, err)
		}
	}
}

func TestRatio(t *testing.T) {
	var c comparison
	for _, round := range [][2]float64{{1, 2}, {10, 10}, {3, 2}} { // one round on a slow machine changes nothing
		c.add(round[0], round[1])
	}
	if got := c.ratio(); got != 1 {
		t.Errorf("ratio() = %v, want 1", got)
	}
	if got := quantile([]int{5, 1, 4, 2, 3}, 0.99); got != 5 {
		t.Errorf("quantile() = %v, want 5", got)
	}
	if got := median([]float64(nil)); got != 0 {
		t.Errorf("median() of nothing = %v", got)
	}
}
