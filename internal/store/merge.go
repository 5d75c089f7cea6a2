package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"posthorn/internal/message"
)

// together commits what puts and settles, in few statements however many they are. Those
// go to PostgreSQL at once as one transaction: it takes one round trip, and holds no lock
// while this instance is away. Nor does the one statement by which all stop waiting.
func together(c *connection, batch []*write) error {
	if batch[0].stop != nil {
		return c.stop(batch...)
	}
	var plain, keyed rows
	var settlings []*settling
	for _, w := range batch {
		switch {
		case w.settle != nil:
			settlings = append(settlings, w.settle)
		case w.put.parts != nil || w.put.records[0].Scope == "":
			plain.add(w.put)
		default:
			keyed.addOnce(w.put)
		}
	}
	if err := number(c, &plain, &keyed); err != nil {
		return unasked{err}
	}
	var b pgx.Batch
	plain.queue(&b)
	keyed.queueNew(&b)
	queueChanges(&b, settlings)
	return c.conn.Raw(func(driver any) error {
		return driver.(*stdlib.Conn).Conn().SendBatch(c.ctx, &b).Close()
	})
}

// number gives the records their numbers, before anybody can see them. It is after their
// Put began, so that the order of acceptance is that of the numbers.
func number(c *connection, all ...*rows) error {
	var of []row
	for _, r := range all {
		of = append(of, r.of...)
	}
	of = slices.DeleteFunc(of, func(r row) bool { return r.put.parts != nil })
	if len(of) == 0 {
		return nil
	}
	found, err := c.query(`SELECT nextval('messages_seq') FROM generate_series(1, $1::bigint)`, len(of))
	if err != nil {
		return err
	}
	seqs, err := numbers(found)
	if err != nil {
		return err
	}
	slices.Sort(seqs)
	for i, r := range of {
		r.record().Seq = seqs[i]
	}
	for _, r := range of {
		if r.place == 0 {
			r.put.numbered()
		}
	}
	return nil
}

// rows are records that are put by one statement.
type rows struct {
	of    []row
	known map[string]*putting // by scope
}

// A row is one record of a putting.
type row struct {
	put   *putting
	place int
}

func (r row) record() *message.Record { return &r.put.records[r.place] }

func (r *rows) add(p *putting) {
	for i := range p.records {
		r.of = append(r.of, row{p, i})
	}
	p.kept = true
}

// addOnce adds a request that is the only one with its scope: another one finds it when it
// is there.
func (r *rows) addOnce(p *putting) {
	scope := p.records[0].Scope
	if p.kept = false; r.known[scope] != nil {
		return
	}
	if r.known == nil {
		r.known = make(map[string]*putting)
	}
	r.known[scope] = p
	r.add(p)
}

func (r *rows) queue(b *pgx.Batch) {
	if len(r.of) > 0 {
		b.Queue(putAll, r.columns()...)
	}
}

// queueNew queues requests of which nothing may be known yet. They are in the order of
// their scopes, so that two instances which have the same ones do not wait for each other
// in a circle.
func (r *rows) queueNew(b *pgx.Batch) {
	if len(r.of) == 0 {
		return
	}
	slices.SortStableFunc(r.of, func(a, b row) int { return cmp.Compare(a.record().Scope, b.record().Scope) })
	b.Queue(putNew, append(r.columns(), r.firsts())...).Query(func(found pgx.Rows) error {
		kept, err := pgx.CollectRows(found, pgx.RowTo[int64])
		for _, p := range r.known {
			p.kept = slices.Contains(kept, p.records[0].Seq)
		}
		return err
	})
}

// firsts gives for each row the number of the first one of its request.
func (r *rows) firsts() []int64 {
	firsts := make([]int64, len(r.of))
	for i, row := range r.of {
		firsts[i] = row.put.records[0].Seq
	}
	return firsts
}

const (
	allColumns  = columns + `, part`
	columnTypes = `$1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
		$13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[]`

	putAll = `INSERT INTO messages (` + allColumns + `) SELECT * FROM unnest(` + columnTypes + `)`

	// putNew puts the requests of which nothing is known, and gives the numbers of their
	// first records. Of two instances that put the same one at once, the index on its first
	// record lets one through, and the other waits until that one is there.
	putNew = `WITH given AS MATERIALIZED (SELECT * FROM unnest(` + columnTypes + `, $19::bigint[]) AS given (` + allColumns + `, first)),
		firsts AS (INSERT INTO messages (` + allColumns + `) SELECT ` + allColumns + ` FROM given
			WHERE part = 0 AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.scope <> '' AND messages.scope = given.scope) ORDER BY scope
			ON CONFLICT (scope) WHERE scope <> '' AND part = 0 DO NOTHING RETURNING seq),
		others AS (INSERT INTO messages (` + allColumns + `) SELECT ` + allColumns + ` FROM given WHERE part > 0 AND first IN (SELECT seq FROM firsts))
		SELECT seq FROM firsts`

	changeAll = `UPDATE messages SET state = new.state, attempts = new.attempts, code = new.code, detail = new.detail, wake = new.wake, expires = new.expires,
			content = CASE WHEN new.content IS NOT NULL THEN new.content WHEN new.pending THEN messages.content END,
			waits = CASE WHEN new.fresh THEN new.waits ELSE least(messages.waits, new.waits) END
		FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::boolean[], $14::boolean[])
			AS new (seq, before, state, attempts, code, detail, wake, expires, term, under, waits, content, pending, fresh)
		WHERE messages.seq = new.seq AND messages.state = new.before AND messages.term <= new.term
			AND (new.under = 0 OR EXISTS (SELECT 1 FROM leases WHERE name = 'stream' AND leases.term = new.under))
			AND (new.state <> 'failed' OR new.fresh OR messages.waits >= new.waits)
		RETURNING messages.seq`
)

// columns gives the arguments of putAll and putNew.
func (r *rows) columns() []any {
	n := len(r.of)
	var (
		seqs, attempts, expires, wakes, sizes = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		accepted, parts, terms, waits         = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		senders, recipients, ids, states      = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		codes, details, scopes, digests       = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		contents                              = make([][]byte, n)
	)
	for i, row := range r.of {
		m := row.record()
		seqs[i], senders[i], recipients[i], ids[i], contents[i], states[i] = m.Seq, string(m.From), string(m.To), m.ID, row.put.contents[row.place], string(m.State)
		attempts[i], codes[i], details[i], sizes[i] = int64(m.Attempts), readableText(m.Code), readableText(m.Detail), m.Size
		expires[i], wakes[i], accepted[i] = m.Expires.UnixNano(), m.Wake.UnixNano(), m.Accepted.UnixNano()
		scopes[i], digests[i], parts[i], terms[i], waits[i] = m.Scope, m.Digest, row.put.part(row.place), m.Term, flag(m.Waits)
	}
	return []any{seqs, senders, recipients, ids, contents, states, attempts, codes, details, expires, wakes, sizes, scopes, digests, accepted, terms, waits, parts}
}

// readableText gives what PostgreSQL takes of a text that is for people.
func readableText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// changes are those that are made by one statement: none of the same record.
type changes struct {
	of []changing
}

// A changing is one change of a settling.
type changing struct {
	settling *settling
	place    int
}

func (c changing) seq() int64 { return c.settling.changes[c.place].Seq }

// queueChanges queues what settles. A record that is changed twice is so by one statement
// after another.
func queueChanges(b *pgx.Batch, settlings []*settling) {
	var rounds []*changes
	next := make(map[int64]int) // the round of a record's next change, by Seq
	for _, p := range settlings {
		clear(p.applied)
		for i := range p.changes {
			round := next[p.changes[i].Seq]
			next[p.changes[i].Seq]++
			if round == len(rounds) {
				rounds = append(rounds, new(changes))
			}
			rounds[round].of = append(rounds[round].of, changing{p, i})
		}
	}
	for _, round := range rounds {
		slices.SortFunc(round.of, func(a, b changing) int { return cmp.Compare(a.seq(), b.seq()) }) // as StopWaiting has them, and other instances
		b.Queue(changeAll, round.columns()...).Query(round.apply)
	}
}

// columns gives the arguments of changeAll.
func (c *changes) columns() []any {
	n := len(c.of)
	var (
		seqs, attempts, wakes, expires  = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		terms, unders, waits            = make([]int64, n), make([]int64, n), make([]int64, n)
		befores, states, codes, details = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		contents, pending, fresh        = make([][]byte, n), make([]bool, n), make([]bool, n)
	)
	for i, of := range c.of {
		m := &of.settling.changes[of.place]
		seqs[i], befores[i], states[i], attempts[i] = m.Seq, string(m.Before), string(m.State), int64(m.Attempts)
		codes[i], details[i], wakes[i], expires[i] = readableText(m.Code), readableText(m.Detail), m.Wake.UnixNano(), m.Expires.UnixNano()
		terms[i], unders[i], waits[i] = m.Term, m.Under, flag(m.Waits)
		contents[i], pending[i], fresh[i] = of.settling.contents[of.place], m.State.Pending(), !m.Before.Pending()
	}
	return []any{seqs, befores, states, attempts, codes, details, wakes, expires, terms, unders, waits, contents, pending, fresh}
}

// apply reads which changes were made.
func (c *changes) apply(found pgx.Rows) error {
	made := make(map[int64]bool, len(c.of))
	var seq int64
	_, err := pgx.ForEachRow(found, []any{&seq}, func() error { made[seq] = true; return nil })
	for _, of := range c.of {
		of.settling.applied[of.place] = made[of.seq()]
	}
	return err
}
