package delivery

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A memory is a keeper without a disk, as the package store documents it. What it
// holds is what was committed, and several may hold the same, one after the other.
type memory struct {
	*table
	dead  bool      // commits nothing any more, as after a crash; guarded by table.mu
	asked time.Time // where it is shared: when Changed was last true; guarded by table.mu
}

// A table is what is committed.
type table struct {
	mu        sync.Mutex
	records   map[int64]message.Record
	originals map[original]message.Original
	shared    bool  // by several, of which that of term leads
	last      int64 // the newest Seq, where it is shared
	term      int64
	changed   bool            // as another process would make it
	fails     map[string]bool // methods that fail now, by name; "*": all that write

	// Changed by set; each may be nil.
	latency  func() time.Duration                                  // before and after a method does its work
	refuse   func() bool                                           // fails a write by chance
	selected func([]message.Record)                                // is told of what Select gives, before that returns
	putting  func(rs []message.Record)                             // is told of what Put will commit, before it does
	held     func() bool                                           // the last record of a claim is somebody else's for the moment
	spread   func(k *memory, again bool, changed []message.Record) // tells others, again of what was there before
}

// An original is what names a message.Original.
type original struct {
	from, to message.JID
	key      string
}

func newMemory() *memory {
	return &memory{table: &table{records: make(map[int64]message.Record), originals: make(map[original]message.Original), fails: make(map[string]bool), changed: true}}
}

// die ends k, and gives another one that holds the same.
func (k *memory) die() *memory {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead, k.changed = true, true
	return k.another()
}

// another is the keeper of another posthorn that shares what k holds.
func (k *memory) another() *memory { return &memory{table: k.table} }

// tell tells other posthorns what k has committed. The caller holds mu.
func (k *memory) tell(again bool, changed ...message.Record) {
	if k.spread == nil {
		return
	}
	go k.spread(k, again, slices.Clone(changed))
}

var errDisk = errors.New("memory: no space")

// begin waits and fails, if that is what is asked for.
func (k *memory) begin(method string, write bool) error {
	k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead || k.fails[method] || write && (k.fails["*"] || k.refuse != nil && k.refuse()) {
		return fault.Wrap(errDisk, fault.Unavailable, "posthorn cannot keep messages now").MayPass()
	}
	return nil
}

func (k *table) pause() {
	k.mu.Lock()
	latency := k.latency
	k.mu.Unlock()
	if latency != nil {
		time.Sleep(latency())
	}
}

// set changes what the table does.
func (k *table) set(change func(*table)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k)
}

// fail switches the failures of a method on or off.
func (k *table) fail(method string, fails bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fails[method] = fails
}

func (k *memory) Put(_ context.Context, records []message.Record, numbered func()) ([]message.Record, error) {
	if err := k.begin("Put", true); err != nil {
		return nil, err
	}
	defer k.pause()
	k.number(records)
	k.mu.Lock()
	putting := k.putting
	k.mu.Unlock()
	if putting != nil {
		putting(records)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return nil, errDisk
	}
	if scope := records[0].Scope; scope != "" {
		if earlier := k.find(message.Query{Scope: scope}); len(earlier) > 0 {
			return earlier, nil
		}
	}
	numbered()
	for _, r := range records {
		if _, taken := k.records[r.Seq]; taken {
			return nil, errors.New("memory: a Seq is taken")
		}
		r.Message = stored(r.Message)
		k.records[r.Seq] = r
	}
	k.tell(false, records...)
	return nil, nil
}

// number gives records that are shared their numbers, some time before they are there.
func (k *table) number(records []message.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range records {
		if k.shared {
			k.last++
			records[i].Seq = k.last
		}
	}
}

// stored is a message as it comes back from the disk.
func stored(m *message.Message) *message.Message {
	if m == nil {
		return nil
	}
	c := *m
	c.TTL, c.Kept, c.Accepted = 0, false, time.Time{}
	return &c
}

func (k *memory) Settle(_ context.Context, changes []message.Change) (applied []bool, err error) {
	if err := k.begin("Settle", true); err != nil {
		return nil, err
	}
	defer k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return nil, errDisk
	}
	for _, c := range changes {
		done := k.settle(c)
		if applied = append(applied, done); done {
			k.tell(true, k.records[c.Seq])
		}
	}
	return applied, nil
}

// settle applies one change. The caller holds mu.
func (k *table) settle(c message.Change) bool {
	r, known := k.records[c.Seq]
	if !known || r.State != c.Before || r.Term > c.Term || c.Under != 0 && c.Under != k.term || k.shared && c.State == message.Failed && c.Before.Pending() && !r.Waits {
		return false
	}
	r.Waits = c.Waits && (r.Waits || !c.Before.Pending())
	r.State, r.Attempts, r.Code, r.Detail, r.Wake, r.Expires = c.State, c.Attempts, c.Code, c.Detail, c.Wake, c.Expires
	switch {
	case !c.State.Pending():
		r.Message = nil
	case !c.Before.Pending():
		r.Message = stored(c.Message)
	}
	k.records[c.Seq] = r
	return true
}

// beside changes records as another process does.
func (k *table) beside(changes ...message.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range changes {
		k.changed = k.settle(c) || k.changed
	}
}

// Claim gives the one that leads what is next in lines. It may stop before a record that
// somebody else has in hand.
func (k *memory) Claim(_ context.Context, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error) {
	if err := k.begin("Claim", true); err != nil {
		return nil, nil, err
	}
	defer k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead || term != k.term {
		return nil, nil, errors.New("memory: another leads")
	}
	for _, l := range lines {
		found := slices.DeleteFunc(k.find(message.Query{From: l.From, State: message.Queued}), func(r message.Record) bool { return r.Seq <= l.After && r.Term == term })
		full := len(found) >= limit
		found = found[:min(len(found), limit)]
		if k.held != nil && k.held() && len(found) > 0 {
			found, full = found[:len(found)-1], true
		}
		for i := range found {
			r := k.records[found[i].Seq]
			r.Term, found[i].Term = term, term
			k.records[r.Seq] = r
		}
		records, more = append(records, found), append(more, full)
	}
	return records, more, nil
}

func (k *memory) StopWaiting(_ context.Context, seqs []int64) ([]message.Record, error) {
	if err := k.begin("StopWaiting", true); err != nil {
		return nil, err
	}
	defer k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return nil, errDisk
	}
	for _, seq := range seqs {
		if r := k.records[seq]; r.State.Pending() {
			r.Waits = false
			k.records[seq] = r
		}
	}
	return k.find(message.Query{Seqs: seqs}), nil
}

func (k *memory) Select(_ context.Context, q message.Query) ([]message.Record, error) {
	if err := k.begin("Select", false); err != nil {
		return nil, err
	}
	defer k.pause()
	k.mu.Lock()
	found, selected := k.find(q), k.selected
	k.mu.Unlock()
	if selected != nil {
		selected(found)
	}
	return found, nil
}

// find gives what q means. The caller holds mu.
func (k *table) find(q message.Query) (found []message.Record) {
	for _, r := range k.records {
		if meant(q, &r) {
			r.Message = stored(r.Message)
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b message.Record) int {
		order := cmp.Compare(a.Seq, b.Seq)
		if !q.WakeBy.IsZero() {
			order = cmp.Or(a.Wake.Compare(b.Wake), order)
		}
		if q.Newest {
			order = -order
		}
		return order
	})
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found
}

func meant(q message.Query, r *message.Record) bool {
	return (q.From == "" || q.From == r.From) &&
		(q.ID == "" || q.ID == r.ID) &&
		(q.Scope == "" || q.Scope == r.Scope) &&
		(q.State == "" || q.State == r.State) &&
		(!q.Open || r.State.Pending()) &&
		(!q.Final || !r.State.Pending()) &&
		(q.Seqs == nil || slices.Contains(q.Seqs, r.Seq)) &&
		r.Seq > q.After &&
		(q.WakeBy.IsZero() || !r.Wake.After(q.WakeBy))
}

func (k *memory) Forget(_ context.Context, now time.Time, keep int) (removed int, err error) {
	if err := k.begin("Forget", true); err != nil {
		return 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return 0, errDisk
	}
	final := k.find(message.Query{Final: true})
	slices.SortFunc(final, func(a, b message.Record) int { return b.Wake.Compare(a.Wake) })
	for i, r := range final {
		if i >= keep || !r.Wake.After(now) {
			delete(k.records, r.Seq)
			removed++
		}
	}
	return removed, nil
}

func (k *memory) Originals(_ context.Context, from message.JID, to []message.JID, key string, now time.Time) (ids []string, err error) {
	if err := k.begin("Originals", false); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, to := range to {
		o := k.originals[original{from, to, key}]
		if !o.Expires.After(now) {
			o.ID = ""
		}
		ids = append(ids, o.ID)
	}
	return ids, nil
}

func (k *memory) KeepOriginals(_ context.Context, originals []message.Original) error {
	if err := k.begin("KeepOriginals", true); err != nil {
		return err
	}
	defer k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errDisk
	}
	for _, o := range originals {
		k.originals[original{o.From, o.To, o.Key}] = o
	}
	return nil
}

func (k *memory) Tally(context.Context) (piles []message.Pile, last int64, err error) {
	if err := k.begin("Tally", true); err != nil {
		return nil, 0, err
	}
	defer k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	type key struct {
		from, to message.JID
		state    message.State
	}
	counted := make(map[key]message.Pile)
	for seq, r := range k.records {
		last = max(last, seq)
		name := key{r.From, r.To, r.State}
		if !r.State.Pending() {
			name, r.Size = key{}, 0
		}
		p := counted[name]
		counted[name] = message.Pile{From: name.from, To: name.to, State: name.state, Count: p.Count + 1, Size: p.Size + r.Size}
	}
	return slices.Collect(maps.Values(counted)), last, nil
}

func (k *memory) Changed(context.Context) (bool, error) {
	if err := k.begin("Changed", true); err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shared {
		due := time.Since(k.asked) >= 5*time.Second
		if due {
			k.asked = time.Now()
		}
		return due, nil
	}
	changed := k.changed
	k.changed = false
	return changed, nil
}

// states gives the state of each record, by its message's id.
func (k *table) states() map[string]message.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	states := make(map[string]message.State)
	for _, r := range k.records {
		states[r.ID] = r.State
	}
	return states
}

// all gives every record, in order.
func (k *table) all() []message.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.find(message.Query{})
}
