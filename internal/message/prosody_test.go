package message

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// prepared gives each address as Prosody reads it, "" for one that it refuses.
func prepared(t *testing.T, addresses []string) []string {
	t.Helper()
	var in, out bytes.Buffer
	for _, a := range addresses {
		fmt.Fprintf(&in, "%x\n", a)
	}
	cmd := exec.Command(luaOf(t), "testdata/prepare.lua")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("Prosody's libraries do not run: %v (make deps installs them)", err)
	}
	var results []string
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		text, err := hex.DecodeString(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, string(text))
	}
	if len(results) != len(addresses) {
		t.Fatalf("%d answers to %d addresses", len(results), len(addresses))
	}
	return results
}

// luaOf finds the interpreter that Debian's Prosody runs on.
func luaOf(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("prosodyctl")
	if err != nil {
		t.Fatal("prosody is not installed: run `make deps`")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	words := strings.Fields(first)
	return words[len(words)-1]
}

// A batch collects the addresses that are accepted, to have Prosody read them.
type batch struct {
	tried    int
	accepted []string
}

// try has ParseRecipient read an address, and notes as whom it is accepted.
func (b *batch) try(address string) {
	b.tried++
	if j, err := ParseRecipient(address); err == nil {
		b.accepted = append(b.accepted, string(j))
	}
}

// check fails for each address that Prosody knows by another name, and tells how
// many it refuses: those it will refuse as sender and as recipient.
func (b *batch) check(t *testing.T) {
	t.Helper()
	changed, refused := 0, 0
	for i, got := range prepared(t, b.accepted) {
		switch {
		case got == "":
			if refused++; refused <= 10 {
				t.Logf("accepted, and refused by Prosody: %q", b.accepted[i])
			}
		case got != b.accepted[i]:
			if changed++; changed <= 50 {
				t.Errorf("accepted as %q, which Prosody reads as %q", b.accepted[i], got)
			}
		}
	}
	t.Logf("%d addresses tried, %d accepted, of which Prosody reads %d as another and refuses %d", b.tried, len(b.accepted), changed, refused)
	if len(b.accepted) == 0 {
		t.Error("none was accepted")
	}
}

// places are where a character can stand in an address.
var places = []struct{ name, format string }{
	{"name", "%s@example.com"},
	{"name, second", "a%s@example.com"},
	{"name, inside", "a%sb@example.com"},
	{"domain", "user@%s.example"},
	{"domain, inside", "user@a%sb.example"},
	{"resource", "user@example.com/%s"},
	{"resource, inside", "user@example.com/a%sb"},
}

// TestProsodyKnowsEveryCharacter: what is accepted as an address is that address to
// Prosody as well, whatever character stands where. Here each place gets a share of
// the code points, and those of every block; with `make soak` all of them.
func TestProsodyKnowsEveryCharacter(t *testing.T) { sweepCharacters(t, 37) }

// sweepCharacters tries every step-th code point, and all that have another case or
// another form.
func sweepCharacters(t *testing.T, step rune) {
	for i, place := range places {
		t.Run(place.name, func(t *testing.T) {
			var b batch
			for r := rune(0); r <= unicode.MaxRune; r++ {
				if r%step == rune(i)%step || unicode.SimpleFold(r) != r || !norm.NFKC.IsNormalString(string(r)) {
					b.try(fmt.Sprintf(place.format, string(r)))
				}
			}
			b.check(t)
		})
	}
}

// TestProsodyKnowsRandomNames: the same for mixes of characters, since some change
// one another.
func TestProsodyKnowsRandomNames(t *testing.T) { sweepMixes(t, 20261125, 40_000) }

func sweepMixes(t *testing.T, seed uint64, n int) {
	t.Logf("seed %d", seed)
	g := rand.New(rand.NewPCG(seed, 0))
	alone, marks := alphabet()
	pick := func() rune {
		switch g.IntN(4) {
		case 0:
			return marks[g.IntN(len(marks))]
		case 1:
			return rune('a' + g.IntN(26))
		}
		return alone[g.IntN(len(alone))]
	}
	for _, place := range places {
		if strings.Contains(place.name, ",") {
			continue
		}
		t.Run(place.name, func(t *testing.T) {
			var b batch
			for range n {
				var mix []rune
				for range 2 + g.IntN(3) {
					mix = append(mix, pick())
				}
				b.try(fmt.Sprintf(place.format, string(mix)))
			}
			b.check(t)
		})
	}
}

// alphabet gives the letters and marks of Unicode, apart: most mixes of anything
// else are refused here already.
func alphabet() (alone, marks []rune) {
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		switch {
		case !utf8.ValidRune(r):
		case unicode.Is(unicode.M, r):
			marks = append(marks, r)
		case unicode.Is(unicode.L, r) && !unicode.Is(unicode.Han, r) && !unicode.Is(unicode.Hangul, r), unicode.Is(unicode.N, r), r >= 0x1100 && r < 0x1200, r >= 0xF900 && r < 0xFB00:
			alone = append(alone, r)
		}
	}
	return alone, marks
}
