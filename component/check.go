package component

import "context"

// A HostReport says how the component speaks for one host's users.
type HostReport struct {
	Host  string
	Mode  string // "direct", "privilege" or "refused"
	Tells bool   // the server tells when it cannot deliver to a user of this host
	Hint  string // what to change in the server's configuration, where it is refused
}

// Check connects once, finds out for whom the component may speak, and leaves.
// The error says why there is no stream; Options.Hint may know what to change.
// A server that lets the newer connection win ends the stream of another
// posthorn with this domain, so that one is better asked first.
func (c *Component) Check(ctx context.Context) ([]HostReport, error) {
	for {
		s, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		s.checkOnly = true
		switch err := s.run(ctx); err {
		case errNotDirect:
			continue
		case errChecked:
			return c.report(), nil
		default:
			return nil, err
		}
	}
}

func (c *Component) report() []HostReport {
	var reports []HostReport
	for _, host := range c.opts.Hosts {
		v := c.voice(host)
		r := HostReport{Host: host, Mode: v.String(), Tells: v.tells}
		if !v.speaks() {
			r.Hint = c.opts.muteHint(host)
		}
		reports = append(reports, r)
	}
	return reports
}
