//go:build soak

package delivery

import (
	"testing"
	"testing/synctest"
)

func TestLongStorm(t *testing.T) {
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) { storm(t, 1000+seed, 1+int(seed%2)*2) })
	}
}
