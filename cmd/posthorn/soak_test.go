//go:build soak

package main

import "testing"

func TestTenThousandIdleConnections(t *testing.T) { idleConnections(t, 10000) }

func TestLongRestartStorm(t *testing.T) { restartStorm(t, 30) }

func TestThousandRooms(t *testing.T) { manyRooms(t, 1000) }
