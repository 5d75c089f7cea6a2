package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// A status says how a step of a check went.
type status string

const (
	good    status = "ok"
	dubious status = "warning" // it works, or will, and somebody should look
	failed  status = "failed"
)

// A finding is what a check says of one step. It is an object of --json.
type finding struct {
	Check  string `json:"check"`
	Status status `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to change
}

// A report prints the findings of a check, as they are found.
type report struct {
	print  func(finding)
	failed bool
}

// newReport makes a report for people or, with --json, for programs.
func newReport(p *program) *report {
	if p.json {
		encoder := json.NewEncoder(visibleWriter{p.stdout})
		encoder.SetEscapeHTML(false)
		return &report{print: func(f finding) { _ = encoder.Encode(f) }}
	}
	// NO_COLOR: no-color.org. A terminal that is dumb has none.
	coloured := isTerminal(p.stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &report{print: func(f finding) { printFinding(p.stdout, f, coloured) }}
}

func printFinding(w io.Writer, f finding, coloured bool) {
	word, colour := "ok   ", "32"
	switch f.Status {
	case dubious:
		word, colour = "warn ", "33"
	case failed:
		word, colour = "FAIL ", "31"
	}
	if coloured {
		word = "\x1b[" + colour + "m" + word + "\x1b[0m"
	}
	fmt.Fprintf(w, "%s %s: %s\n", word, visible(f.Check), visible(f.Detail))
	if f.Hint != "" {
		fmt.Fprintf(w, "      hint: %s\n", visible(f.Hint))
	}
}

func (r *report) ok(step, format string, args ...any) {
	r.print(finding{step, good, fmt.Sprintf(format, args...), ""})
}

// warn is for what works, or may for another user than who checks.
func (r *report) warn(step, hint, format string, args ...any) {
	r.print(finding{step, dubious, fmt.Sprintf(format, args...), hint})
}

func (r *report) fail(step string, err error, hint string) {
	r.failed = true
	r.print(finding{step, failed, err.Error(), hint})
}

func (r *report) exit() int {
	if r.failed {
		return exitFailed
	}
	return exitOK
}
