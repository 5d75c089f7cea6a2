package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile is the value below which that share of the values lies; NaN for
// none.
func quantile[T cmp.Ordered](values []T, share float64) (q T) {
	if len(values) == 0 {
		return q
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Round(share*float64(len(sorted)-1)))]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

// A comparison is one number of each of two things, round by round.
type comparison struct{ ours, theirs []float64 }

func (c *comparison) add(ours, theirs float64) {
	c.ours, c.theirs = append(c.ours, ours), append(c.theirs, theirs)
}

// ratio is the median of the rounds' ratios: what slows a whole round down
// slows both.
func (c *comparison) ratio() float64 {
	ratios := make([]float64, len(c.ours))
	for i := range ratios {
		ratios[i] = c.ours[i] / c.theirs[i]
	}
	return median(ratios)
}
