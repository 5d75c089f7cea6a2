package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// A section is one measurement's part of the document.
type section struct {
	title  string
	prose  string // Markdown
	tables []table
}

// A table's first row has the columns' names.
type table [][]string

func (t *table) add(cells ...string) { *t = append(*t, cells) }

func (s section) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n", s.title, strings.TrimSpace(s.prose))
	for _, t := range s.tables {
		b.WriteString("\n" + t.markdown())
	}
	return b.String()
}

// markdown aligns the columns, so that the table reads in a terminal too.
func (t table) markdown() string {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, row := range t {
		for j, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("|\n")
		for j := 0; i == 0 && j < len(widths); j++ {
			b.WriteString("|" + strings.Repeat("-", widths[j]+2))
		}
		if i == 0 {
			b.WriteString("|\n")
		}
	}
	return b.String()
}

const introduction = `# Benchmarks

` + "`make bench`" + ` writes this file. It starts the servers, runs what is compared in
turns, %d rounds of %v each after a warm-up, and shows medians. A ratio is the median
of the rounds' ratios, since both runs of a round meet the same machine. Every answer
was checked, and every message counted at its recipient.

The clients, the recipient and the servers share the processors of one machine, over
loopback. With fewer of those than busy programs, a rate says what is left for each,
and a ratio what each costs beside the other.

`

func document(b bench, sections []section, others float64) string {
	machine := table{{"machine", ""}}
	machine.add("date", time.Now().UTC().Format(time.DateOnly))
	machine.add("processor", fmt.Sprintf("%s, %d cores", processor(), runtime.NumCPU()))
	machine.add("other programs", fmt.Sprintf("took %.0f %% of the processors meanwhile", 100*others))
	machine.add("Go", runtime.Version())
	for _, name := range []string{"prosody", "ejabberd", "go-sendxmpp"} {
		machine.add(name, packageVersion(name))
	}
	parts := []string{fmt.Sprintf(introduction, b.rounds, b.span) + machine.markdown()}
	for _, s := range sections {
		parts = append(parts, s.markdown())
	}
	return strings.Join(parts, "\n")
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// packageVersion is that of a Debian package: what is not from there does not
// say who built it.
func packageVersion(name string) string {
	out, err := exec.Command("dpkg-query", "--show", "--showformat=${Version}", name).Output()
	if err != nil {
		return "not from a Debian package"
	}
	return string(out)
}

// target says whether a ratio is what it has to be.
func target(ratio, least float64) string {
	if ratio < least {
		return fmt.Sprintf("≥ %.2f, missed", least)
	}
	return fmt.Sprintf("≥ %.2f", least)
}

// ceiling is target for what has to be small.
func ceiling(value, most float64, unit string) string {
	if value > most {
		return fmt.Sprintf("≤ %g%s, missed", most, unit)
	}
	return fmt.Sprintf("≤ %g%s", most, unit)
}

func count(n float64) string { return fmt.Sprintf("%.0f", n) }

func times(ratio float64) string { return fmt.Sprintf("%.2f", ratio) }

// seconds are shown in a unit in which they are neither nothing nor long.
func seconds(s float64) string {
	switch {
	case s > 0 && s < 10e-6:
		return fmt.Sprintf("%.2f µs", s*1e6)
	case s > 0 && s < 1e-3:
		return fmt.Sprintf("%.0f µs", s*1e6)
	}
	return fmt.Sprintf("%.2f ms", s*1e3)
}
