package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestFarewell: load balancers are told before posthorn stops, and have time to hear it.
func TestFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		able, f := true, new(farewell)
		ready := f.ready(func() bool { return able })
		if !ready() {
			t.Error("it is not ready before")
		}
		began := time.Now()
		go f.say()
		synctest.Wait()
		if ready() {
			t.Error("it is ready still")
		}
		time.Sleep(farewellTime)
		synctest.Wait() // for say to have returned
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("it took %v", took)
		}
		able, f = false, new(farewell)
		if f.ready(func() bool { return able })() {
			t.Error("it is ready where it is not able")
		}
	})
}
