package render

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/template"
	"time"

	"posthorn/internal/fault"
)

//go:embed templates/*.tmpl
var builtIn embed.FS

// Auto is the name by which Recognize is asked for.
const Auto = "auto"

const (
	extension = ".tmpl"
	maxFile   = 256 << 10 // bytes of one template
)

// A Set is the templates that there are. It may be used concurrently.
type Set struct {
	dir     string // of own templates; "": there are none
	current atomic.Pointer[map[string]*entry]

	patience time.Duration // maxTime, but in tests
}

// An entry is one template.
type entry struct {
	template func() *template.Template // nil: it is broken, and never was otherwise
	text     string                    // of the file that is own, else of the built-in one
	own      bool                      // a file in dir has it, or parts of it
	broken   error                     // of the own file as it is now; nil: nothing
}

// New makes a Set of the built-in templates and of those in dir, where that is not
// empty. It reads nothing before Load.
func New(dir string) *Set {
	return &Set{dir: dir, patience: maxTime}
}

// Load reads the templates anew. What is wrong with an own one is in the error, a line
// for each, and that one stays as it was before, or is the built-in one if there was
// none; the others are as they are in the files.
func (s *Set) Load() error {
	next := make(map[string]*entry)
	for name, text := range builtIns() {
		next[name] = &entry{text: text, template: parsedOnce(name, text)}
	}
	files, err := s.files()
	problems := []error{err}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), extension)
		e := s.own(name, file, next[name])
		if next[name] = e; e.broken != nil {
			problems = append(problems, fmt.Errorf("%s: %w", file, e.broken))
		}
	}
	s.current.Store(&next)
	return errors.Join(problems...)
}

// parsedOnce parses a built-in template when somebody needs it: most posthorns need two
// or three, and all would take four MiB. That they parse, tests see.
func parsedOnce(name, text string) func() *template.Template {
	return sync.OnceValue(func() *template.Template { return template.Must(parseTemplate(name, text)) })
}

// builtIns gives the texts of the built-in templates. A file is of every tool that its
// name has: those post the same.
func builtIns() map[string]string {
	texts := make(map[string]string)
	files, _ := fs.Glob(builtIn, "templates/*"+extension) // the pattern is right
	for _, file := range files {
		text, _ := builtIn.ReadFile(file) // it is there
		for name := range strings.SplitSeq(strings.TrimSuffix(filepath.Base(file), extension), "+") {
			texts[name] = string(text)
		}
	}
	return texts
}

// files lists the own templates' files.
func (s *Set) files() ([]string, error) {
	if s.dir == "" {
		return nil, nil
	}
	if _, err := os.ReadDir(s.dir); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(s.dir), "*"+extension))
	slices.Sort(files)
	return files, err
}

// escapeGlob lets a directory's name stand in a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// own reads an own template, over the built-in one of its name if there is one.
func (s *Set) own(name, file string, base *entry) *entry {
	text, err := readTemplate(name, file)
	var texts []string
	if base != nil {
		texts = append(texts, base.text)
	}
	e := &entry{text: text, own: true}
	var parsed *template.Template
	if err == nil {
		parsed, err = parseTemplate(name, append(texts, text)...)
	}
	if err == nil {
		e.template = func() *template.Template { return parsed }
		return e
	}
	e.broken = err
	switch before := s.entries()[name]; {
	case before != nil && before.template != nil:
		e.template = before.template
	case base != nil:
		e.template = base.template
	}
	return e
}

// names are those that a template may have, since it stands in a path.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func readTemplate(name, file string) (string, error) {
	if !names.MatchString(name) || name == Auto {
		return "", errors.New("a template's name has to be 1 to 64 lower-case letters, digits, dots and dashes, and not auto")
	}
	f, err := os.Open(file) // #nosec G304 -- who runs posthorn names the directory
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("is larger than %d KiB", maxFile>>10)
	}
	return string(text), err
}

func (s *Set) entries() map[string]*entry {
	if current := s.current.Load(); current != nil {
		return *current
	}
	return nil
}

// Info is what is known of a template.
type Info struct {
	Name   string
	Own    bool  // by a file of the administrator's, at least in parts
	Broken error // why that file is not in use; nil: it is
}

// List gives the templates that there are, by name.
func (s *Set) List() []Info {
	var list []Info
	entries := s.entries()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		list = append(list, Info{Name: name, Own: e.own, Broken: e.broken})
	}
	return list
}

// Text gives the text of a template, as its own file or posthorn has it.
func (s *Set) Text(name string) (string, error) {
	e, err := s.find(name)
	if err != nil {
		return "", err
	}
	return e.text, nil
}

func (s *Set) find(name string) (*entry, error) {
	if e := s.entries()[name]; e != nil {
		return e, nil
	}
	known := slices.Sorted(maps.Keys(s.entries()))
	return nil, fault.New(fault.NoSuchPage, "there is no template %q: there are %s and %s", cut(64, name), Auto, strings.Join(known, ", "))
}

// Render makes a message of a payload. The error is a *fault.Error: Unsendable where
// the payload does not fit the template, Unavailable where that is broken or slow, NoSuchPage where there is none of that name.
func (s *Set) Render(name string, in Input) (Message, error) {
	e, err := s.find(name)
	switch {
	case err != nil:
		return Message{}, err
	case e.template == nil:
		return Message{}, fault.Wrap(e.broken, fault.Unavailable, "the template %s is broken, and whoever runs this posthorn has to mend it: %s", name, cut(200, oneLine(e.broken.Error())))
	}
	r := run{Input: in, ends: time.Now().Add(s.patience)}
	return r.execute(e.template())
}
