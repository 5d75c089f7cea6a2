//go:build soak

package main

import (
	"testing"
	"time"
)

func TestTenThousandIdleConnections(t *testing.T) { idleConnections(t, 10000) }

func TestLongRestartStorm(t *testing.T) { restartStorm(t, 20, 3*time.Second) }

func TestLongWireFaults(t *testing.T) { wireFaultsUnderLoad(t, 64, 50*time.Millisecond, 10) }

// TestDeadPeer: under load, and when nobody says anything.
func TestDeadPeer(t *testing.T) {
	for name, clients := range map[string]int{"busy": 16, "idle": 0} {
		t.Run(name, func(t *testing.T) { deadPeer(t, clients) })
	}
}

func TestThousandRooms(t *testing.T) { manyRooms(t, 1000) }
