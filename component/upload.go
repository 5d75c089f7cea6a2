package component

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// Files go to the upload service of the sender's host (XEP-0363, version 1.1.0). It is
// asked in the name of the address that the sender has in rooms too, so that it counts
// quotas for each of them, and its answers come to us.
const (
	nsUpload = "urn:xmpp:http:upload:0"

	// serviceLife is how long a service is remembered: its administrator may change
	// its limit without restarting the server.
	serviceLife = 5 * time.Minute
	// maxServices bounds whom a host can make us ask.
	maxServices = 32
)

// A service takes files up to a limit.
type service struct {
	address string
	limit   int64 // bytes; it may not have said so
	found   time.Time
}

// uploads are the services that were found, for the stream that is up.
type uploads struct {
	mu    sync.Mutex
	known map[string]service // guarded by mu; by the senders' host
}

func (u *uploads) get(host string) (s service, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s, known = u.known[host]
	return s, known && time.Since(s.found) < serviceLife
}

// put remembers a service. There are no more of them than hosts.
func (u *uploads) put(host string, s service) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = make(map[string]service)
	}
	u.known[host] = s
}

func (u *uploads) forget(host string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.known, host)
}

func (u *uploads) forgetAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.known)
}

// UploadLimit gives how large a file of the sender's may be, in bytes. The error, a
// *fault.Error, says why none can be uploaded now.
func (c *Component) UploadLimit(ctx context.Context, from message.JID) (int64, error) {
	s, err := c.uploadService(ctx, from)
	return s.limit, err
}

// RequestSlot asks for a place for a file of the sender's. The error is a *fault.Error:
// TooLarge, Forbidden or Unsendable where the service refuses the file, Unavailable
// where there is no service, or none that answers.
func (c *Component) RequestSlot(ctx context.Context, from message.JID, f message.File) (Slot, error) {
	s, err := c.uploadService(ctx, from)
	if err != nil {
		return Slot{}, err
	}
	if f.Size > s.limit {
		return Slot{}, tooLargeFor(s.address, s.limit)
	}
	var request []byte
	request = append(request, "<request xmlns='"+nsUpload+"'"...)
	request = appendAttr(request, "filename", f.Name)
	request = appendAttr(request, "size", strconv.FormatInt(f.Size, 10))
	request = appendAttr(request, "content-type", f.Type)
	answer, err := c.ask(ctx, c.rooms.occupantOf(from), s.address, string(append(request, "/>"...)))
	switch {
	case err != nil:
		return Slot{}, err
	case answer.Attr("type") == "error":
		c.uploads.forget(from.Domain())
		return Slot{}, c.opts.slotRefused(s.address, from.Domain(), answer)
	}
	slot, ok := readSlot(answer)
	if !ok {
		return Slot{}, fault.New(fault.Unavailable, "the upload service %s gave a place for the file that cannot be used", oneLine(s.address))
	}
	slot.Service = s.address
	return slot, nil
}

// uploadService finds the service of the sender's host: the host itself, or one that it
// lists (XEP-0363 §3).
func (c *Component) uploadService(ctx context.Context, from message.JID) (service, error) {
	host, asker := from.Domain(), c.rooms.occupantOf(from)
	if len(from.Escaped()) > maxLocalpart {
		return service{}, fault.New(fault.Unsendable, "your own address is too long for files")
	}
	if c.State() == Up && !c.voice(host).speaks() {
		return service{}, mute(from) // nor would the message get through
	}
	if s, known := c.uploads.get(host); known {
		return s, nil
	}
	listed, err := c.ask(ctx, asker, host, "<query xmlns='"+nsDiscoItems+"'/>")
	if err != nil {
		return service{}, err
	}
	candidates := slices.DeleteFunc(append(readItems(listed), host), func(address string) bool { return address == c.opts.Domain })
	s := c.firstService(ctx, asker, candidates)
	switch {
	case s != nil:
		c.uploads.put(host, *s)
		return *s, nil
	case c.State() != Up:
		return service{}, nobodyThere()
	}
	return service{}, fault.New(fault.Unavailable, "the XMPP server has no upload service for %s that answers: add Component %q \"http_file_share\" to prosody.cfg.lua, or mod_http_upload to ejabberd.yml (docs/attachments.md has the lines)", host, "upload."+host)
}

// firstService gives the first of the candidates to say that it is an upload service,
// nil where none is: some may not answer at all.
func (c *Component) firstService(ctx context.Context, asker message.JID, candidates []string) *service {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan *service, len(candidates))
	for _, candidate := range candidates {
		asking.Go(func() { found <- c.inspect(ctx, asker, candidate) })
	}
	for range candidates {
		if s := <-found; s != nil {
			return s
		}
	}
	return nil
}

// maxLocalpart is how long the part before the '@' may be, in bytes (RFC 7622 §3.1).
const maxLocalpart = 1023

// inspect asks whether somebody is an upload service, and gives nil otherwise.
func (c *Component) inspect(ctx context.Context, asker message.JID, address string) *service {
	answer, err := c.ask(ctx, asker, address, "<query xmlns='"+nsDiscoInfo+"'/>")
	if err != nil {
		return nil
	}
	limit, ok := readUploadInfo(answer)
	if !ok {
		return nil
	}
	return &service{address, limit, time.Now()}
}

// readItems gives the addresses that a host lists (XEP-0030 §4), of those that are
// domains, as services are.
func readItems(answer *stream.Element) (addresses []string) {
	query := answer.Child(nsDiscoItems, "query")
	if query == nil || answer.Attr("type") != "result" {
		return nil
	}
	for _, item := range query.Children {
		address := item.Attr("jid")
		domain, err := message.ParseDomain(address)
		if item.Name.Local == "item" && item.Attr("node") == "" && err == nil && domain == address && len(addresses) < maxServices {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// readUploadInfo reports whether an entity is an upload service, and its limit in
// bytes, from the form of that name (XEP-0363 §3, XEP-0128): ejabberd 23.01 has another
// one beside it.
func readUploadInfo(answer *stream.Element) (limit int64, ok bool) {
	query := answer.Child(nsDiscoInfo, "query")
	if query == nil || answer.Attr("type") != "result" {
		return 0, false
	}
	limit = math.MaxInt64
	for _, child := range query.Children {
		switch {
		case child.Name.Space == nsDiscoInfo && child.Name.Local == "feature" && child.Attr("var") == nsUpload:
			ok = true
		case child.Name.Space == nsForms && child.Name.Local == "x" && formValue(child, "FORM_TYPE") == nsUpload:
			if said, err := strconv.ParseInt(formValue(child, "max-file-size"), 10, 64); err == nil && said > 0 {
				limit = said
			}
		}
	}
	return limit, ok
}

// formValue is the value of a form's field that has one (XEP-0004 §3.2).
func formValue(form *stream.Element, name string) string {
	for _, field := range form.Children {
		if field.Name.Space != nsForms || field.Name.Local != "field" || field.Attr("var") != name {
			continue
		}
		if value := field.Child(nsForms, "value"); value != nil {
			return strings.TrimSpace(value.Text)
		}
	}
	return ""
}
