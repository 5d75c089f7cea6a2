package component

import "time"

// grace is what a busy machine may add to the time that Run has given itself.
const grace = 10 * time.Second

// within is Run's word that it will be heard of again within d. Everything that
// it waits for has a bound, so that a server that is away or silent never makes
// it break its word, and a goroutine that hangs always does: its own or, since a
// barrier that nobody reads ends the session, the reader.
func (c *Component) within(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = time.Now().Add(d + grace)
}

// Alive reports whether Run goes on as it should, with or without a stream. If it
// does not, only a new process helps. Where it is not to run, all is well.
func (c *Component) Alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.due.IsZero() || time.Now().Before(c.due)
}
