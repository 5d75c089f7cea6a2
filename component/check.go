package component

import (
	"context"
	"errors"
	"sync"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A HostReport says how the component speaks for one host's users.
type HostReport struct {
	Host  string
	Mode  string // "direct", "privilege" or "refused"
	Tells bool   // the server tells when it cannot deliver to a user of this host
	Hint  string // what to change in the server's configuration, where it is refused

	// Of the service that takes its users' files, where that was asked for.
	Upload      string // its address; "": there is none
	UploadLimit int64  // bytes; math.MaxInt64: it has not said
	UploadHint  string // what is in the way of files
}

// Check connects once, finds out for whom the component may speak, and with files where
// they can be uploaded, and leaves. The error says why there is no stream; Options.Hint
// may know what to change. A server that lets the newer connection win ends the stream
// of another posthorn with this domain, so that one is better asked first.
func (c *Component) Check(ctx context.Context, files bool) ([]HostReport, error) {
	for {
		s, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		var reports []HostReport
		s.check = func(ctx context.Context) {
			reports = c.report()
			if files {
				c.findUploads(ctx, reports)
			}
		}
		switch err := s.run(ctx); err {
		case errNotDirect:
			continue
		case errChecked:
			return reports, nil
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

// findUploads asks for the upload services of the hosts that the component speaks for,
// in the name of an account that does not matter.
func (c *Component) findUploads(ctx context.Context, reports []HostReport) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := range reports {
		r := &reports[i]
		if r.Hint != "" {
			continue
		}
		asking.Go(func() {
			s, err := c.uploadService(ctx, message.JID("posthorn@"+r.Host))
			if err != nil {
				r.UploadHint = fault.Of(err).Public
				return
			}
			r.Upload, r.UploadLimit = s.address, s.limit
		})
	}
}

// leadCheck keeps the stream up for as long as the check asks something.
func (s *session) leadCheck(ctx context.Context) error {
	checking, cancel := context.WithCancel(ctx)
	s.c.setState(Up)
	var check sync.WaitGroup
	check.Go(func() {
		defer cancel()
		s.check(checking)
	})
	err := s.write(checking)
	cancel()
	s.c.setState(Down)
	s.c.inquiries.end() // so that nobody waits for an answer
	check.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return errChecked
	}
	return err
}
