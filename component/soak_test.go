//go:build soak

package component

import (
	"strings"
	"testing"
)

func TestLongFloods(t *testing.T) {
	for _, u := range unasked {
		t.Run(u.name, func(t *testing.T) { flood(t, strings.ReplaceAll(u.stanza, "PAD", "x"), 100_000) })
	}
}

func TestLongTruth(t *testing.T) {
	for seed := range uint64(500) {
		truth(t, seed)
	}
}
