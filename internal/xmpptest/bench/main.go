// Command bench measures posthorn beside what it is compared with, on this
// machine and in one run: `make bench`.
//
//  1. It starts real servers in temporary directories, and `posthorn serve`
//     beside each, and logs a recipient in who reads all that comes.
//  2. Each pair of things that are compared runs in turns, several rounds, so
//     that whatever else the machine does meets both. A ratio is the median of
//     the rounds' ratios.
//  3. It counts nothing that it has not checked: every answer's status, and
//     every message at its recipient.
//  4. It prints the tables, and when nothing was left out writes them to
//     docs/benchmarks.md.
//
// What it must not do is flatter: the clients, the recipient and the raw stream
// are written for little cost, because they share the processors with what is
// measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// longest bounds the whole run.
const longest = 15 * time.Minute

// A bench is what the command line asked for.
type bench struct {
	binary string // posthorn
	rounds int
	span   time.Duration // of each measurement in a round
}

// measurements are the sections of the document, by the letter that -only
// takes.
var measurements = []struct {
	letter  string
	measure func(context.Context, bench) (section, error)
}{
	{"a", throughput},
	{"b", rivals},
	{"c", logins},
	{"d", overNothing},
	{"e", passwords},
	{"f", footprint},
	{"g", kept},
	{"h", shared},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == bareCommand {
		exit(serveBare(os.Args[2]))
	}
	var b bench
	flag.StringVar(&b.binary, "posthorn", filepath.Join("bin", "posthorn"), "the posthorn `binary` to measure")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each measurement is repeated")
	seconds := flag.Float64("seconds", 1, "how long each takes")
	only := flag.String("only", "", "measure these `sections` alone, as in ad, and write no document")
	output := flag.String("o", filepath.Join("docs", "benchmarks.md"), "the document to write")
	profile := flag.String("cpuprofile", "", "write a profile of this program itself, the clients' cost, to `file`")
	flag.Parse()
	b.span = time.Duration(*seconds * float64(time.Second))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	stopProfile, err := startProfile(*profile)
	if err == nil {
		err = run(ctx, b, *only, *output)
	}
	stopProfile()
	exit(err)
}

func startProfile(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return func() {}, err
	}
	return pprof.StopCPUProfile, pprof.StartCPUProfile(f)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run measures, prints each section when it is done, and writes the document.
// What failed leaves the rest to be measured.
func run(ctx context.Context, b bench, only, output string) error {
	before, err := processorUse()
	if err != nil {
		return err
	}
	var sections []section
	var failed []error
	for _, m := range measurements {
		if only != "" && !strings.Contains(only, m.letter) {
			continue
		}
		s, err := m.measure(ctx, b)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.letter, err))
			continue
		}
		fmt.Print(s.markdown(), "\n")
		sections = append(sections, s)
	}
	after, err := processorUse()
	if err := errors.Join(append(failed, err)...); err != nil {
		return err
	}
	others := after.others(before)
	fmt.Printf("Other programs took %.0f %% of the processors.\n", 100*others)
	if only != "" {
		return nil
	}
	return os.WriteFile(output, []byte(document(b, sections, others)), 0o644)
}
