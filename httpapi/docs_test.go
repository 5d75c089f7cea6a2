package httpapi

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
)

// TestCodesDocumented: docs/protocols.md has a line for each kind of failure,
// and no others.
func TestCodesDocumented(t *testing.T) {
	var want []string
	for _, kind := range fault.Kinds() {
		want = append(want, fmt.Sprintf("| `%s` | %d |", kind, rowOf(kind).status))
	}
	doc, err := os.ReadFile("../docs/protocols.md")
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile("(?m)^\\| `[a-z-]+` \\| \\d+ \\|$").FindAllString(string(doc), -1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
