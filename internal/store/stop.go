package store

import (
	"context"
	"slices"

	"posthorn/internal/message"
)

// A stopping is a StopWaiting under way.
type stopping struct {
	seqs    []int64
	records []message.Record // what came of it
}

// StopWaiting notes of those records that are pending that nobody waits for their
// outcome any more, so that none becomes message.Failed, and gives all as they are then.
func (s *Store) StopWaiting(ctx context.Context, seqs []int64) (records []message.Record, err error) {
	p := &stopping{seqs: seqs}
	if err := s.enqueue(ctx, &write{stop: p}); err != nil {
		return nil, err
	}
	return p.records, nil
}

// stop does what several ask for at once. It needs no transaction: what is read after the
// records were changed is no less true where somebody has settled one meanwhile.
func (c *connection) stop(batch ...*write) error {
	var seqs []int64
	for _, w := range batch {
		seqs = append(seqs, w.stop.seqs...)
	}
	text, list := c.engine.stopping(seqs)
	if _, err := c.exec(text, list); err != nil {
		return err
	}
	records, err := c.find(message.Query{Seqs: seqs})
	for _, w := range batch {
		w.stop.take(records)
	}
	return err
}

// take takes of what was found what it has asked for.
func (p *stopping) take(found []message.Record) {
	p.records = nil
	for i := range found {
		if slices.Contains(p.seqs, found[i].Seq) {
			p.records = append(p.records, found[i])
		}
	}
}

// stopping writes StopWaiting as SQL, and its argument.
func (e *engine) stopping(seqs []int64) (string, any) {
	those, list := e.among(1, seqs)
	return `UPDATE messages SET waits = 0 WHERE ` + those + ` AND waits <> 0 AND ` + stillOpen, list
}
