//go:build soak

package message

import (
	"math/rand/v2"
	"testing"
)

func TestProsodyKnowsAllCharacters(t *testing.T) { sweepCharacters(t, 1) }

func TestProsodyKnowsManyRandomNames(t *testing.T) { sweepMixes(t, rand.Uint64(), 2_000_000) }
