package render

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"time"

	"posthorn/internal/fault"
)

// What one payload may cost. Built-in templates stay far below.
const (
	maxSteps  = 100_000         // actions, runs of blocks and turns of loops
	maxTime   = 2 * time.Second // the last action may add to it
	maxOutput = 64 << 10        // bytes of a block, and of what a function gives
)

// An Input is what a template is run with.
type Input struct {
	Payload any                 // as ParseJSON gives it, or a string
	Header  func(string) string // the request's headers; nil: it has none
	Query   func(string) string // the parameters of its URL; nil: it has none
	Plain   bool                // words in place of emoji
}

// A run is one run of a template.
type run struct {
	Input
	steps int
	ends  time.Time
}

var (
	errTooLong = errors.New("takes too long: a loop in it does not end, or the payload is too large for it")
	// errTooSlow may be the machine's fault, and not the payload's.
	errTooSlow = errors.New("took too long: try again")
)

func (r *run) tick() (string, error) {
	switch r.steps++; {
	case r.steps > maxSteps:
		return "", errTooLong
	case time.Now().After(r.ends):
		return "", errTooSlow
	}
	return "", nil
}

// execute runs every block of t that means something.
func (r *run) execute(t *template.Template) (m Message, err error) {
	if t, err = t.Clone(); err != nil {
		return m, err
	}
	t.Funcs(functions(r))
	give := func(name string) (text string) {
		if err == nil {
			text, err = r.block(t, name)
		}
		return text
	}
	if t.Lookup("body") != nil {
		m.Body = tidy(give("body"))
	} else {
		m.Body = tidy(give(t.Name()))
	}
	m.Subject, m.Type, m.ID = line(give("subject")), line(give("type")), line(give("id"))
	url, _, _ := strings.Cut(strings.TrimSpace(give("urls")), "\n")
	m.URL = line(url)
	m.Key, m.Fresh = line(give("update")), line(give("new")) != ""
	if m.Update = m.Key != ""; !m.Update {
		m.Key = line(give("key"))
	}
	return m, err
}

// line gives a block's text the form of a field that is one line.
func line(text string) string { return allowed(oneLine(text)) }

// block runs one block, and gives nothing for one that is not there.
func (r *run) block(t *template.Template, name string) (string, error) {
	if t.Lookup(name) == nil {
		return "", nil
	}
	var out bounded
	if err := t.ExecuteTemplate(&out, name, r.Payload); err != nil {
		return "", misfit(t.Name(), err)
	}
	return out.String(), nil
}

// bounded takes maxOutput bytes.
type bounded struct{ strings.Builder }

var errTooMuch = fmt.Errorf("gives more than %d KiB", maxOutput>>10)

func (b *bounded) Write(text []byte) (int, error) {
	if b.Len()+len(text) > maxOutput {
		return 0, errTooMuch
	}
	return b.Builder.Write(text)
}

// execError takes apart what text/template says of a failure: where, and why.
var execError = regexp.MustCompile(`(?s)^template: [^:]*:(\d+):(?:\d+:)? executing ".*?" at <(.*?)>: (?:error calling \w+: )?(.*)$`)

// noMember takes apart its words for a member that is not there.
var noMember = regexp.MustCompile(`^(?:map has no entry for key "(.*)"|nil pointer evaluating .*\.(.*)|can't evaluate field (.*) in type .*)$`)

// misfit is the fault of a payload that the template does not fit, or of a template
// that does too much: its line, and what is missing.
func misfit(name string, err error) error {
	for own, kind := range map[error]fault.Kind{errTooLong: fault.Unsendable, errTooMuch: fault.Unsendable, errTooSlow: fault.Unavailable} {
		if errors.Is(err, own) {
			return fault.Wrap(err, kind, "the template %s %v", name, own)
		}
	}
	found := execError.FindStringSubmatch(err.Error())
	if found == nil {
		return fault.Wrap(err, fault.Unsendable, "the payload does not fit the template %s", name)
	}
	reason := oneLine(found[3])
	if member := noMember.FindStringSubmatch(reason); member != nil {
		reason = "it has no " + member[1] + member[2] + member[3]
		if strings.HasPrefix(found[2], ".") || strings.HasPrefix(found[2], "$") {
			reason += fmt.Sprintf(" (%s)", found[2])
		}
	}
	return fault.Wrap(err, fault.Unsendable, "the payload does not fit the template %s, line %s: %s", name, found[1], cut(200, reason))
}
