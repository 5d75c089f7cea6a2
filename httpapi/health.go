package httpapi

import "net/http"

// A state is what health checks are told.
type state struct {
	Stream  string `json:"stream"` // up, down or refused
	Store   string `json:"store"`  // ok, off or failing
	Version string `json:"version"`
}

// health answers while the process lives.
func (x *exchange) health(status int) error {
	x.reply(status, "application/json", state{x.options.Stream(), x.options.Store(), x.options.Version})
	return nil
}

// ready answers 200 while a message could be sent or kept.
func (x *exchange) ready() error {
	if !x.options.Ready() {
		return x.health(http.StatusServiceUnavailable)
	}
	return x.health(http.StatusOK)
}
