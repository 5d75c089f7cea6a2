package main

import (
	"sync/atomic"
	"time"
)

// farewellTime is how long an instance that stops goes on taking requests while /readyz
// says no already. A load balancer that asks there twice a second, as the one of
// deploy/cluster does, gives it nothing more by then, so that no connection waits to be
// accepted when the listener is closed: the system would reset it, and its request could
// not be sent again by who cannot know that nobody has read it.
const farewellTime = 2 * time.Second

// A farewell is how one of several instances leaves the others.
type farewell struct{ said atomic.Bool }

// ready is not true any more once the farewell is said.
func (f *farewell) ready(otherwise func() bool) func() bool {
	return func() bool { return !f.said.Load() && otherwise() }
}

// say returns when load balancers have heard it. It cannot be cut short: whoever stops
// posthorn a second time means it, and kills it.
func (f *farewell) say() {
	f.said.Store(true)
	<-time.After(farewellTime)
}
