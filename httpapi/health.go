package httpapi

import "net/http"

// A state is what health checks are told.
type state struct {
	Stream  string `json:"stream"`         // up, down or refused
	Store   string `json:"store"`          // ok, off or failing
	Role    string `json:"role,omitempty"` // holder or standby, where several posthorns share the store
	Version string `json:"version"`
}

func (x *exchange) state() state {
	s := state{Stream: x.options.Stream(), Store: x.options.Store(), Version: x.options.Version}
	if x.options.Role != nil {
		s.Role = x.options.Role()
	}
	return s
}

// health answers while the process lives.
func (x *exchange) health(status int) error {
	x.reply(status, "application/json", x.state())
	return nil
}

// ready answers 200 while a message could be sent or kept.
func (x *exchange) ready() error {
	if !x.options.Ready() {
		return x.health(http.StatusServiceUnavailable)
	}
	return x.health(http.StatusOK)
}
