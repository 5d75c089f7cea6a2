package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// findings are those of a check, each without its text, and with one that helps where it
// is bad.
func findings(t *testing.T, check func(*report)) (all []finding) {
	t.Helper()
	check(&report{print: func(f finding) {
		all = append(all, f)
		if f.Status != good && f.Hint == "" {
			t.Errorf("%s: %q does not say what to change", f.Check, f.Detail)
		}
	}})
	return all
}

// wantFinding compares the one finding with how it begins, "status check", and a part of
// its detail.
func wantFinding(t *testing.T, got []finding, begins, part string) {
	t.Helper()
	if len(got) != 1 || string(got[0].Status)+" "+got[0].Check != begins || !strings.Contains(got[0].Detail, part) {
		t.Errorf("it finds %+v, want %s with %q", got, begins, part)
	}
}

// TestReport: for people on a terminal, for people elsewhere, for programs.
func TestReport(t *testing.T) {
	for _, test := range []struct {
		name     string
		env      string // what is set to what
		terminal bool
		json     bool
		want     string
	}{
		{"terminal", "", true, false, "\x1b[32mok   \x1b[0m a: 1\n\x1b[33mwarn \x1b[0m b: 2\n      hint: do?\n\x1b[31mFAIL \x1b[0m c: EOF\n"},
		{"NO_COLOR", "NO_COLOR=1", true, false, "ok    a: 1\nwarn  b: 2\n      hint: do?\nFAIL  c: EOF\n"},
		{"dumb", "TERM=dumb", true, false, "ok    a: 1\nwarn  b: 2\n      hint: do?\nFAIL  c: EOF\n"},
		{"pipe", "", false, false, "ok    a: 1\nwarn  b: 2\n      hint: do?\nFAIL  c: EOF\n"},
		{"JSON", "", true, true, `{"check":"a","status":"ok","detail":"1"}` + "\n" + `{"check":"b","status":"warning","detail":"2","hint":"do\u001b"}` + "\n" + `{"check":"c","status":"failed","detail":"EOF"}` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", "")
			t.Setenv("TERM", "xterm")
			if name, value, set := strings.Cut(test.env, "="); set {
				t.Setenv(name, value)
			}
			got := printed(t, test.terminal, func(w io.Writer) {
				r := newReport(&program{stdout: w, json: test.json})
				r.ok("a", "%d", 1)
				r.warn("b", "do\x1b", "%d", 2)
				r.fail("c", io.EOF, "")
				if r.exit() != exitFailed {
					t.Error("a failure is none")
				}
			})
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	var out bytes.Buffer
	r := newReport(&program{stdout: &out})
	r.warn("a", "b", "c")
	if r.exit() != exitOK {
		t.Error("a warning is a failure")
	}
}

// printed is what print writes to a terminal, or to what is none.
func printed(t *testing.T, terminal bool, print func(io.Writer)) string {
	t.Helper()
	if !terminal {
		var out bytes.Buffer
		print(&out)
		return out.String()
	}
	screen, device := openTerminal(t)
	print(device)
	_ = device.Close()
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := screen.Read(buf) // which ends in EIO, since nobody has the terminal any more
		seen = append(seen, buf[:n]...)
		if err != nil {
			return strings.ReplaceAll(string(seen), "\r\n", "\n")
		}
	}
}

// readFindings reads what check --json prints.
func readFindings(t *testing.T, text string) (all []finding) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var f finding
		err := decoder.Decode(&f)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		all = append(all, f)
	}
}
