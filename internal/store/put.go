package store

import (
	"context"
	"encoding/json"
	"errors"

	"posthorn/internal/message"
)

// A putting is a Put under way.
type putting struct {
	records  []message.Record
	contents [][]byte // of their messages
	numbered func()
	parts    []int64 // which of its request each is, for those that are kept as they are; nil: as they stand

	// What came of it.
	kept    bool
	earlier []message.Record
}

// part is which of its request the record at that place is.
func (p *putting) part(place int) int64 {
	if p.parts != nil {
		return p.parts[place]
	}
	return int64(place)
}

// maxVanished is how often a request is put whose earlier one is there, and has been
// forgotten when it is looked for.
const maxVanished = 3

// Put keeps records, all or none, and returns when they are on disk. Where they
// have a Scope of which there are records already, it keeps nothing and gives
// those. numbered is called before anybody else can see the records, which have their
// Seq by then: PostgreSQL gives it to them; again, where the store had to begin anew. The
// error is a *fault.Error, of the kind Unconfirmed where nobody knows whether they are kept.
func (s *Store) Put(ctx context.Context, records []message.Record, numbered func()) (earlier []message.Record, err error) {
	p := &putting{records: records, numbered: numbered}
	if p.contents, err = contentsOf(records); err != nil {
		return nil, err
	}
	for range maxVanished {
		if err := s.enqueue(ctx, &write{put: p}); err != nil || p.kept || len(p.earlier) > 0 {
			return p.earlier, err
		}
		if earlier, err = s.Select(ctx, message.Query{Scope: records[0].Scope}); err != nil || len(earlier) > 0 {
			return earlier, err
		}
	}
	return nil, unavailable(errors.New("store: a request is kept by turns and forgotten"))
}

// contentsOf gives the texts of those records that are pending.
func contentsOf(records []message.Record) (contents [][]byte, err error) {
	contents = make([][]byte, len(records))
	for i := range records {
		if !records[i].State.Pending() {
			continue
		}
		if contents[i], err = json.Marshal(records[i].Message); err != nil { // #nosec G117 -- a room asks for its password when the message is sent
			return nil, err
		}
	}
	return contents, nil
}

// put keeps the records of p one by one.
func (c *connection) put(p *putting) (err error) {
	if scope := p.records[0].Scope; scope != "" && p.parts == nil {
		if p.earlier, err = c.find(message.Query{Scope: scope}); err != nil || len(p.earlier) > 0 {
			return err
		}
	}
	if p.numbered != nil {
		p.numbered()
	}
	for i := range p.records {
		if err := c.insert(&p.records[i], p.part(i), p.contents[i]); err != nil {
			return err
		}
	}
	p.kept = true
	return nil
}

// insert keeps a record, the one of that part of its request.
func (c *connection) insert(r *message.Record, part int64, content []byte) error {
	_, err := c.exec(`INSERT INTO messages (seq, sender, recipient, id, content, state, attempts, code, detail, expires, wake, size, scope, digest, accepted, part, term, waits)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		r.Seq, string(r.From), string(r.To), r.ID, content, string(r.State), r.Attempts, r.Code, r.Detail, r.Expires.UnixNano(), r.Wake.UnixNano(), r.Size, r.Scope, r.Digest, r.Accepted.UnixNano(), part, r.Term, flag(r.Waits))
	return err
}

// flag is a truth as a number.
func flag(is bool) int64 {
	if is {
		return 1
	}
	return 0
}
