package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// What the pages say is tried out. A page's commands are its blocks of sh, and what is
// indented by four and begins like one. They are run by the page's test, in order, or
// stand behind a comment that says what they need and a test has not:
//
//	<!-- needs: a container engine -->
//
// Other comments before a block, for who runs the page:
//
//	<!-- file: /etc/posthorn/posthorn.yaml -->        the block is that file
//	<!-- printed: posthorn server-config prosody -->  the page's command prints these lines, among others

// runs are the tests that run the commands of a page.
var runs = map[string]func(*testing.T){
	"README.md":                    TestReadme,
	"docs/attachments.md":          TestAttachmentsDocumented,
	"docs/contributing.md":         TestContributing,
	"docs/ejabberd.md":             TestEjabberdPage,
	"docs/hooks.md":                TestHooksPage,
	"docs/migrating.md":            TestCommandsOfPages,
	"docs/operating.md":            TestOperatingPage,
	"docs/prosody.md":              TestProsodyPage,
	"docs/send.md":                 TestSendDocs,
	"docs/senders/README.md":       TestSenderScripts,
	"docs/senders/alertmanager.md": TestAlertmanagerCommands,
	"docs/senders/apprise.md":      TestSenderCommands,
	"docs/senders/gitea.md":        TestCommandsOfPages,
	"docs/senders/github.md":       TestCommandsOfPages,
	"docs/senders/gitlab.md":       TestCommandsOfPages,
	"docs/senders/gotify.md":       TestSenderCommands,
	"docs/senders/json.md":         TestSenderCommands,
	"docs/senders/ntfy.md":         TestSenderCommands,
	"docs/senders/slack.md":        TestSenderCommands,
	"docs/sending.md":              TestSendingPage,
}

// TestCommandsRun: each command on a page is run by a test, or says what it needs.
func TestCommandsRun(t *testing.T) {
	for _, page := range pages(t) {
		var commands int
		for _, b := range blocks(t, page) {
			if b.isCommand() && b.needs() == "" {
				commands++
			}
		}
		if run := runs[page]; commands > 0 && run == nil {
			t.Errorf("%s has commands, and no test that runs them: add one to runs, or <!-- needs: … --> to the page", page)
		} else if commands == 0 && run != nil {
			t.Errorf("%s has no commands: take it out of runs", page)
		}
	}
}

// pages are the files of documentation, from the root of the module.
func pages(t *testing.T) (found []string) {
	t.Helper()
	root := os.DirFS("../..")
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		matches, err := fs.Glob(root, pattern)
		if err != nil || len(matches) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		found = append(found, matches...)
	}
	return found
}

func readPage(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A block is what stands on a page as it is.
type block struct {
	language string   // "": indented, or without one
	indented bool     // by four
	marks    []string // what the comments before it say
	text     string
}

// commandLine is how a line begins that an indented block of commands begins with.
var commandLine = regexp.MustCompile(`^(amtool|apt|chown|cp|curl|df|docker|dpkg|echo|go|install|journalctl|make|podman|posthorn|prosodyctl|promtool|sudo|systemctl|useradd) `)

func (b block) isCommand() bool {
	return b.language == "sh" || b.indented && commandLine.MatchString(b.text)
}

// mark gives what the comment of that name says, or nothing.
func (b block) mark(name string) string {
	for _, m := range b.marks {
		if value, found := strings.CutPrefix(m, name+": "); found {
			return value
		}
	}
	return ""
}

func (b block) needs() string { return b.mark("needs") }

var (
	fence   = regexp.MustCompile("^( *)(````*)([a-z]*)$")
	comment = regexp.MustCompile(`^ *<!-- (.*) -->$`)
)

// blocks are those of a page, in order.
func blocks(t *testing.T, page string) (found []block) {
	t.Helper()
	lines := strings.Split(readPage(t, page), "\n")
	var marks []string
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := comment.FindStringSubmatch(line); m != nil {
			marks = append(marks, m[1])
			continue
		}
		switch m := fence.FindStringSubmatch(line); {
		case m != nil:
			end := i + 1 + slices.Index(lines[i+1:], m[1]+m[2])
			if end <= i {
				t.Fatalf("%s: the block in line %d does not end", page, i+1)
			}
			found = append(found, block{m[3], false, marks, dedent(lines[i+1:end], len(m[1]))})
			i, marks = end, nil
		case strings.HasPrefix(line, "    ") && i > 0 && (strings.TrimSpace(lines[i-1]) == "" || marks != nil):
			end := i
			for end < len(lines) && strings.HasPrefix(lines[end], "    ") {
				end++
			}
			found = append(found, block{"", true, marks, dedent(lines[i:end], len(line)-len(strings.TrimLeft(line, " ")))})
			i, marks = end-1, nil
		case strings.TrimSpace(line) != "":
			marks = nil
		}
	}
	return found
}

// dedent takes up to n spaces off each line.
func dedent(lines []string, n int) string {
	var b strings.Builder
	for _, line := range lines {
		rest := strings.TrimLeft(line, " ")
		b.WriteString(line[min(n, len(line)-len(rest)):] + "\n")
	}
	return b.String()
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks: each link of ours on a page leads to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(readPage(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(filepath.Join("../..", target)); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(readPage(t, target)), anchor) {
				t.Errorf("%s: %s has no heading %s", page, target, anchor)
			}
		}
	}
}

// TestIndex: docs/README.md leads to each page of docs.
func TestIndex(t *testing.T) {
	index := readPage(t, "docs/README.md")
	for _, page := range pages(t) {
		name, in := strings.CutPrefix(page, "docs/")
		if in && name != "README.md" && !strings.HasPrefix(name, "senders/") && !strings.Contains(index, "("+name+")") {
			t.Errorf("docs/README.md does not lead to %s", name)
		}
	}
}

var (
	heading = regexp.MustCompile("(?m)^#+ (.*)$")
	named   = regexp.MustCompile(`<a id="([^"]+)">`)
)

// anchors are what a link may name on a page: headings, as forges name them, and what
// has an id.
func anchors(text string) (found []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}
