package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/pgtest"
	"posthorn/internal/secret"
	"posthorn/internal/token"
	"posthorn/internal/xmpptest"
)

// A journal is a log that many write to.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// logged is a Store at a URL, not open, and its log.
func logged(url string) (*Store, *journal) {
	j := new(journal)
	return New(Options{URL: secret.New(url), Log: slog.New(slog.NewTextHandler(j, nil))}), j
}

// TestPutAtOnce: of instances that put the same requests at once, one keeps each, as a
// whole, and the others get what that one has kept.
func TestPutAtOnce(t *testing.T) {
	at := schema(t)
	var stores []*Store
	for range 3 {
		s, _ := running(t, at)
		stores = append(stores, s)
	}
	const requests = 40
	var putting sync.WaitGroup
	var kept atomic.Int64
	for n := range requests * len(stores) {
		putting.Go(func() {
			from := n % len(stores)
			request := make([]message.Record, 1+n/len(stores)%3)
			for i := range request {
				request[i] = with(record(0, me, a, fmt.Sprint(from)), func(r *message.Record) { r.Scope = fmt.Sprint("key", n/len(stores)) })
			}
			earlier, err := stores[from].Put(t.Context(), request, func() {})
			switch {
			case err != nil:
				t.Error(err)
			case earlier == nil:
				kept.Add(1)
			case len(earlier) != len(request) || earlier[0].Scope != request[0].Scope:
				t.Errorf("%d records of %s came for %d of %s", len(earlier), earlier[0].Scope, len(request), request[0].Scope)
			}
		})
	}
	putting.Wait()
	if n := kept.Load(); n != requests {
		t.Errorf("%d of %d requests were kept", n, requests)
	}
	for n := range requests {
		got := mustSelect(t, stores[0], message.Query{Scope: fmt.Sprint("key", n)})
		for _, r := range got {
			if r.Message.Body != got[0].Message.Body {
				t.Errorf("key%d is of two instances", n)
			}
		}
		if len(got) != 1+n%3 {
			t.Errorf("key%d has %d records", n, len(got))
		}
	}
}

// TestTokensAtOnce: of instances that add tokens of one name at once, one does, and the
// others are told that there is one.
func TestTokensAtOnce(t *testing.T) {
	at := schema(t)
	var adding sync.WaitGroup
	var added atomic.Int64
	for range 3 {
		s, _ := running(t, at)
		for n := range 30 {
			one, _ := madeToken(t, me, token.Request{Name: fmt.Sprint(n % 5)}, time.Now())
			adding.Go(func() {
				switch err := s.AddToken(t.Context(), one); {
				case err == nil:
					added.Add(1)
				case fault.Of(err).Kind != fault.Conflict:
					t.Error(err)
				}
			})
		}
	}
	adding.Wait()
	if n := added.Load(); n != 5 {
		t.Errorf("%d tokens of 5 names were added", n)
	}
}

// TestNumbers: what is put after something was acknowledged has a larger number, whichever
// instance takes it, and the records of one request have theirs in order; they have them
// before anybody can see them.
func TestNumbers(t *testing.T) {
	at := schema(t)
	one, _ := running(t, at)
	two, _ := running(t, at)
	last := int64(0)
	for range 10 {
		for _, s := range []*Store{one, two} {
			records := []message.Record{record(77, me, a, "x"), record(66, me, b, "x"), record(0, me, a, "x")}
			_, err := s.Put(t.Context(), records, func() {
				if seq := records[2].Seq; seq == 0 || len(mustSelect(t, two, message.Query{Seqs: []int64{seq}})) > 0 {
					t.Errorf("%d can be seen", seq)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if r.Seq <= last {
					t.Errorf("%d comes after %d", r.Seq, last)
				}
				last = r.Seq
			}
		}
	}
}

// TestUnfit: what PostgreSQL cannot keep is refused by itself, with a reason, and nothing
// is found by it; in the texts of outcomes it is replaced.
func TestUnfit(t *testing.T) {
	s, _ := running(t, schema(t))
	var putting sync.WaitGroup
	long := message.JID(randomText(1, 1023) + "@" + randomText(2, 1023))
	for _, bad := range []func(*message.Record){
		func(r *message.Record) { r.ID = "a\x00b" }, func(r *message.Record) { r.ID = "\xff" },
		func(r *message.Record) { r.To = "\x00" }, func(r *message.Record) { r.Scope = "\xed\xa0\x80" },
		func(r *message.Record) { r.From, r.ID = long, randomText(3, 1023) },
	} {
		putting.Go(func() {
			_, err := s.Put(t.Context(), []message.Record{record(0, me, a, "x"), with(record(0, me, a, "x"), bad)}, func() {})
			if f := fault.Of(err); f.Kind != fault.Unsendable || f.Passing {
				t.Error("it was refused as", err)
			}
		})
		for range 5 {
			putting.Go(func() { mustPut(t, s, record(0, me, a, "good")) })
		}
	}
	putting.Wait()
	if err := s.Failure(); err != nil {
		t.Error(err)
	}
	all := mustSelect(t, s, message.Query{})
	if len(all) != 25 {
		t.Errorf("%d are kept", len(all))
	}
	for _, q := range []message.Query{{ID: "a\x00b"}, {From: "\xff"}, {Scope: "\x00"}} {
		if got := mustSelect(t, s, q); len(got) > 0 {
			t.Errorf("found %v", got)
		}
	}
	change := message.Change{Before: message.Queued, Record: in(all[0], message.Bounced, 1)}
	change.Detail, change.Code = "why\x00 \xff", "c\x00"
	settle(t, s, change)
	if got := mustSelect(t, s, message.Query{Final: true})[0]; got.Detail != "why\ufffd \ufffd" || got.Code != "c\ufffd" {
		t.Errorf("the outcome is %q %q", got.Code, got.Detail)
	}
}

// TestTogether: what is put and settled at once is all done, or nothing of it.
func TestTogether(t *testing.T) {
	at := schema(t)
	s, _ := running(t, at)
	mustPut(t, s, record(0, me, a, "x"))
	if err := server.Server(t).Do(at, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as asked'; END $$`,
		`CREATE TRIGGER fails BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION fail()`); err != nil {
		t.Fatal(err)
	}
	c, err := s.database.connection(&s.engine)
	if err != nil {
		t.Fatal(err)
	}
	defer c.done()
	c.ctx = t.Context()
	keyed := with(record(0, me, a, "keyed"), func(r *message.Record) { r.Scope = "key" })
	var batch []*write
	for _, r := range []message.Record{record(0, me, a, "plain"), keyed} {
		batch = append(batch, &write{put: &putting{records: []message.Record{r}, contents: [][]byte{[]byte("{}")}, numbered: func() {}}})
	}
	p := &settling{changes: []message.Change{{Before: message.Queued, Record: in(record(1, me, a, ""), message.Bounced, 1)}}, contents: make([][]byte, 1), applied: make([]bool, 1)}
	batch = append(batch, &write{settle: p})
	if err := together(c, batch); err == nil || p.applied[0] || len(mustSelect(t, s, message.Query{})) != 1 {
		t.Errorf("a part was done: %v, %v", err, seqs(mustSelect(t, s, message.Query{})))
	}
	if err := server.Server(t).Do(at, `DROP TRIGGER fails ON messages`); err != nil {
		t.Fatal(err)
	}
	if err := together(c, batch); err != nil || !p.applied[0] || len(mustSelect(t, s, message.Query{})) != 3 {
		t.Errorf("not everything was done: %v, %v", err, seqs(mustSelect(t, s, message.Query{})))
	}
}

// TestOneOrder: whatever settles, the rows are taken in the order of their numbers, so that
// nobody waits for another in a circle; those of one record in the order in which they came.
func TestOneOrder(t *testing.T) {
	settles := func(seqs ...int64) *settling {
		p := &settling{contents: make([][]byte, len(seqs)), applied: make([]bool, len(seqs))}
		for _, seq := range seqs {
			p.changes = append(p.changes, message.Change{Before: message.Queued, Record: in(record(seq, me, a, ""), message.Bounced, 1)})
		}
		return p
	}
	var b pgx.Batch
	queueChanges(&b, []*settling{settles(7, 3, 9), settles(5, 3)})
	var got [][]int64
	for _, q := range b.QueuedQueries {
		got = append(got, q.Arguments[0].([]int64))
	}
	if diff := cmp.Diff([][]int64{{3, 5, 7, 9}, {3}}, got); diff != "" {
		t.Error(diff)
	}
}

// randomText is one that cannot be compressed.
func randomText(seed uint64, length int) string {
	random := rand.New(rand.NewPCG(seed, 0))
	text := make([]byte, length)
	for i := range text {
		text[i] = 'a' + byte(random.IntN(26))
	}
	return string(text)
}

// TestInTheWay: writes that wait for each other in a circle come to an end, and all are
// done, once each.
func TestInTheWay(t *testing.T) {
	t.Parallel()
	at := schema(t)
	one, _ := running(t, at)
	two, _ := running(t, at)
	mustPut(t, one, record(0, me, a, "x"), record(0, me, a, "x"))
	var met, writing sync.WaitGroup
	met.Add(2)
	write := func(s *Store, first, second int64) {
		tries := 0
		err := s.commitOnce(t.Context(), func(c *connection) error {
			_, err := c.exec(`UPDATE messages SET attempts = attempts + 1 WHERE seq = $1`, first)
			if tries++; tries == 1 {
				met.Done()
				met.Wait()
			}
			if err == nil {
				_, err = c.exec(`UPDATE messages SET attempts = attempts + 1 WHERE seq = $1`, second)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	writing.Go(func() { write(one, 1, 2) })
	writing.Go(func() { write(two, 2, 1) })
	writing.Wait()
	for _, r := range mustSelect(t, one, message.Query{}) {
		if r.Attempts != 2 {
			t.Errorf("%d was written %d times", r.Seq, r.Attempts)
		}
	}
	if one.Failure() != nil || two.Failure() != nil {
		t.Error(one.Failure(), two.Failure())
	}
}

// TestInTheWayAgain: who has lost a deadlock loses it once more, and has written all the
// same in the end. PostgreSQL takes a second to see each.
func TestInTheWayAgain(t *testing.T) {
	t.Parallel()
	s, _ := running(t, schema(t))
	tries := 0
	err := s.commitOnce(t.Context(), func(c *connection) error {
		if tries++; tries > 2 {
			return nil
		}
		return c.simply(`DO $$ BEGIN PERFORM pg_sleep(1); RAISE 'as if' USING ERRCODE = 'deadlock_detected'; END $$`)
	})
	if err != nil || tries != 3 {
		t.Errorf("after %d tries: %v", tries, err)
	}
}

// TestNoRoom: a database whose disk is full is one that fails until there is room, and not
// once a second one that works again, since it still takes what needs no page.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, log := logged(at)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	do := func(statements ...string) {
		if err := server.Server(t).Do(at, statements...); err != nil {
			t.Fatal(err)
		}
	}
	do(`CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no page' USING ERRCODE = 'disk_full'; END $$`)
	for _, table := range []string{"messages", "originals"} {
		do("CREATE TRIGGER no_room BEFORE INSERT ON " + table + " FOR EACH ROW EXECUTE FUNCTION no_room()")
	}
	if _, err := s.Put(t.Context(), []message.Record{record(0, me, a, "x")}, func() {}); fault.Of(err).Kind != fault.Unavailable {
		t.Fatal(err)
	}
	for range 3 {
		if s.prove(); s.Failure() == nil {
			t.Fatal("it works again, without room")
		}
	}
	do("DROP FUNCTION no_room CASCADE")
	eventually(t, "it works again", func() bool { return s.Failure() == nil })
	mustPut(t, s, record(0, me, a, "x"))
	if got := log.String(); strings.Count(got, "messages cannot be kept") != 1 || strings.Count(got, "kept again") != 1 || !strings.Contains(got, "has no room: its disk is full") {
		t.Error(got)
	}
	if n, err := server.Server(t).Ask(at, "SELECT count(*) FROM originals"); n != "0" {
		t.Error(n, err)
	}
}

// TestMigrationsAtOnce: instances that start at once make the tables once, and none has
// anything to complain about.
func TestMigrationsAtOnce(t *testing.T) {
	at := schema(t)
	var stores []*Store
	var logs []*journal
	var opening sync.WaitGroup
	for range 5 {
		s, j := logged(at)
		stores, logs = append(stores, s), append(logs, j)
		opening.Go(func() {
			if err := s.Open(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	for i, s := range stores {
		run(t, s)
		mustPut(t, s, record(0, me, a, "x"))
		if text := logs[i].String(); text != "" {
			t.Error(text)
		}
	}
	if n, err := server.Server(t).Ask(at, "SELECT count(*) FROM versions"); err != nil || n != fmt.Sprint(len(migrations)) {
		t.Errorf("%s versions, %v", n, err)
	}
}

// TestRollingUpgrade: who runs goes on with the tables of a later version, and who starts
// does not.
func TestRollingUpgrade(t *testing.T) {
	at := schema(t)
	old, _ := running(t, at)
	mustPut(t, old, record(0, me, a, "x"))
	before := migrations
	withMigrations(t, append(before[:len(before):len(before)], `ALTER TABLE messages ADD COLUMN more TEXT; ALTER TABLE leases ADD COLUMN more TEXT`))
	s, _ := running(t, at)
	mustPut(t, s, record(0, me, a, "x"))
	migrations = before
	mustPut(t, old, record(0, me, a, "x"))
	if got := mustSelect(t, old, message.Query{}); len(got) != 3 {
		t.Errorf("it sees %d", len(got))
	}
	for _, beside := range []bool{false, true} {
		err := New(Options{URL: secret.New(at), Beside: beside}).Open(t.Context())
		if want := "store: " + Redact(at) + " was made by a newer posthorn: use that one"; err == nil || err.Error() != want {
			t.Errorf("opened: %v", err)
		}
	}
}

// restarts puts with several instances while the server does something, and then compares
// what is there with what was said.
func restarts(t *testing.T, db *pgtest.Server, url string, do func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var putting sync.WaitGroup
	var mu sync.Mutex
	told := make(map[string]string) // what was said of each body
	count := make(map[string]int)
	for i := range 2 {
		s, _ := running(t, url)
		for j := range 8 {
			putting.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					body := fmt.Sprint(i, " ", j, " ", n)
					r := record(0, me, a, body)
					if j%2 == 1 {
						r.Scope = body
					}
					_, err := s.Put(t.Context(), []message.Record{r}, func() {})
					kind := "kept"
					if err != nil {
						kind = fault.Of(err).Kind.String()
					}
					mu.Lock()
					told[body] = kind
					count[kind]++
					mu.Unlock()
				}
			})
		}
	}
	progress := func() {
		t.Helper()
		mu.Lock()
		before := count["kept"]
		mu.Unlock()
		eventually(t, "it goes on", func() bool { mu.Lock(); defer mu.Unlock(); return count["kept"] > before+100 })
	}
	for range 3 {
		progress()
		do()
	}
	progress()
	cancel()
	putting.Wait()
	s, _ := running(t, url)
	there := make(map[string]int)
	for _, r := range mustSelect(t, s, message.Query{}) {
		there[r.Message.Body]++
	}
	for body, kind := range told {
		if n := there[body]; n > 1 || kind == "kept" && n != 1 || kind == fault.Unavailable.String() && n != 0 {
			t.Errorf("%q, of which %s was said, is there %d times", body, kind, n)
		}
	}
	t.Log(count)
	for kind := range count {
		if kind != "kept" && kind != fault.Unavailable.String() && kind != fault.Unconfirmed.String() {
			t.Errorf("%d were %s", count[kind], kind)
		}
	}
}

// TestServerDies: whenever PostgreSQL ends, everything that was acknowledged is there, and
// nothing of which it was said that it was not kept.
func TestServerDies(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, pgtest.Options{})
	restarts(t, db, db.NewDatabase(t), func() {
		if err := db.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := db.Start(); err != nil {
			t.Fatal(err)
		}
	})
	restarts(t, db, db.NewDatabase(t), func() {
		if err := db.Restart(false); err != nil {
			t.Fatal(err)
		}
	})
}

// TestConnectionsDie: so it is when the network ends the connections.
func TestConnectionsDie(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	proxy := proxied(t, db)
	restarts(t, db, pgtest.MustAt(t, db.NewDatabase(t), proxy.Address), proxy.Cut)
	restarts(t, db, pgtest.MustAt(t, db.NewDatabase(t), proxy.Address), proxy.Reset)
}

func proxied(t *testing.T, db *pgtest.Server) *xmpptest.Proxy {
	t.Helper()
	proxy, err := xmpptest.OpenProxy(db.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy
}

// TestRestWhileAway: who does nothing while PostgreSQL restarts does not notice.
func TestRestWhileAway(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, pgtest.Options{})
	t.Run("in clear", func(t *testing.T) { restWhileAway(t, db, db.NewDatabase(t)) })
	t.Run("with TLS", func(t *testing.T) {
		restWhileAway(t, db, withParameter(t, withParameter(t, db.NewDatabase(t), "sslmode", "verify-full"), "sslrootcert", db.CAFile))
	})
}

func restWhileAway(t *testing.T, db *pgtest.Server, at string) {
	s, stop := running(t, at)
	defer stop()
	var busy sync.WaitGroup
	for range 50 { // so that each connection is open
		busy.Go(func() {
			mustPut(t, s, record(0, me, a, "x"))
			mustSelect(t, s, message.Query{Limit: 1})
			_, err := s.ReadLease(t.Context())
			if err != nil {
				t.Error(err)
			}
		})
	}
	busy.Wait()
	for range 3 {
		if err := db.Restart(true); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadLease(t.Context()); err != nil {
			t.Error(err)
		}
		mustSelect(t, s, message.Query{Limit: 1})
		mustPut(t, s, record(0, me, a, "x"))
	}
}

// TestUnknownCommit: where the answer to a commit does not come, nobody says that it was
// done, or that it was not.
func TestUnknownCommit(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	proxy := proxied(t, db)
	direct := db.NewDatabase(t)
	s, _ := running(t, pgtest.MustAt(t, direct, proxy.Address))
	before := 0
	for _, end := range []func(){func() {}, proxy.Cut, proxy.Reset} {
		var busy sync.WaitGroup
		for range 50 { // so that each connection knows the statement
			busy.Go(func() { mustPut(t, s, record(0, me, a, "x")) })
		}
		busy.Wait()
		before += 50
		records := []message.Record{record(0, me, a, "x")}
		put := make(chan error, 1)
		go func() {
			_, err := s.Put(t.Context(), records, func() { proxy.Set(xmpptest.Wire{}, xmpptest.Wire{Stalled: true}) })
			put <- err
		}()
		eventually(t, "it is kept", func() bool {
			n, err := db.Ask(direct, "SELECT count(*) FROM messages")
			return err == nil && n == fmt.Sprint(before+1)
		})
		end()
		err := <-put
		if f := fault.Of(err); f.Kind != fault.Unconfirmed || f.Public != "the database did not confirm in time that the message is kept: it may or may not be sent" {
			t.Errorf("Put gave %v", err)
		}
		proxy.Set(xmpptest.Wire{}, xmpptest.Wire{})
		recovers(t, s, record(0, me, a, "x"))
		before += 2
	}
}

// TestFrozenServer: a server that is there and does not answer is given up in time, and
// taken again when it does.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, pgtest.Options{})
	url := db.NewDatabase(t)
	s, _ := running(t, url)
	mustPut(t, s, record(0, me, a, "x"))
	if err := db.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), []message.Record{record(0, me, a, "x")}, func() {})
	if kind := fault.Of(err).Kind; kind != fault.Unavailable && kind != fault.Unconfirmed {
		t.Error("Put gave", err)
	}
	eventually(t, "it fails", func() bool { return s.Failure() != nil })
	failure := s.Failure()
	if text := failure.Error(); !strings.HasPrefix(text, "store: "+Redact(url)+" does not answer in time: ") {
		t.Error(text)
	}
	if _, err := s.Select(t.Context(), message.Query{}); !errors.Is(err, failure) && !errors.Is(err, s.Failure()) {
		t.Error("who reads does not learn at once that there is no use:", err)
	}
	if changed, err := s.Changed(t.Context()); changed || fault.Of(err).Kind != fault.Unavailable {
		t.Error("Changed gave", changed, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.ReadLease(ctx); err == nil {
		t.Error("it gave a lease")
	}
	if err := db.Resume(); err != nil {
		t.Fatal(err)
	}
	recovers(t, s, record(0, me, a, "x"))
}

// TestFrozenInstance: the locks of an instance that stands still, within a transaction,
// are in nobody's way for long.
func TestFrozenInstance(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, _ := running(t, at)
	frozen, _ := running(t, at+"&idle_in_transaction_session_timeout=500")
	request := func() []message.Record {
		return []message.Record{with(record(0, me, a, "x"), func(r *message.Record) { r.Scope = "key" })}
	}
	held, hold := make(chan struct{}), make(chan struct{})
	stood := make(chan error, 1)
	go func() {
		stood <- frozen.commitOnce(t.Context(), func(c *connection) error {
			p := &putting{records: request(), contents: make([][]byte, 1)}
			p.records[0].Seq = 1 << 60
			err := c.put(p)
			close(held)
			<-hold
			return err
		})
	}()
	<-held
	records := request()
	earlier, err := s.Put(t.Context(), records, func() {})
	if err != nil || earlier != nil {
		t.Error(earlier, err)
	}
	close(hold)
	if err := <-stood; err == nil {
		t.Error("it committed after all")
	}
	if diff := cmp.Diff(records[0].Seq, mustSelect(t, s, message.Query{})[0].Seq); diff != "" {
		t.Error(diff)
	}
}

// TestHosts: of several hosts the one is taken that can be written, and while it lives the
// others may be dead.
func TestHosts(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	at := schema(t)
	silent := proxied(t, db) // takes connections, and says nothing
	silent.Set(xmpptest.Wire{Stalled: true}, xmpptest.Wire{Stalled: true})
	free, err := xmpptest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	standby := pgtest.Start(t, pgtest.Options{Settings: []string{"default_transaction_read_only = on"}, Access: []string{"host all all 127.0.0.1/32 trust"}})
	if err := standby.Do("", "SET default_transaction_read_only = off", "CREATE ROLE "+changedUser(t, at)+" LOGIN", "CREATE DATABASE "+changedPath(t, at)[1:]); err != nil {
		t.Fatal(err)
	}
	refusing := net.JoinHostPort("127.0.0.1", strconv.Itoa(free))
	for name, hosts := range map[string]string{
		"a dead one, a standby": refusing + "," + standby.Address + "," + db.Address,
		"the last ones":         db.Address + "," + refusing + "," + standby.Address,
		"a silent one":          silent.Address + "," + db.Address + "&connect_timeout=1",
	} {
		t.Run(name, func(t *testing.T) {
			hosts, more, _ := strings.Cut(hosts, "&")
			url := strings.Replace(at, db.Address, hosts, 1)
			if more != "" {
				url += "&" + more
			}
			s, stop := running(t, url)
			defer stop()
			mustPut(t, s, record(0, me, a, "x"))
			if _, err := s.ReadLease(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func changedUser(t *testing.T, text string) (name string) {
	changed(t, text, func(u *url.URL) { name = u.User.Username() })
	return name
}

// TestRisks: what lets acknowledged messages be lost is said, once, and who asks is told.
func TestRisks(t *testing.T) {
	for _, c := range []struct {
		name, options string
		want          []string
	}{
		{"none", "", nil},
		{"not at once", "&synchronous_commit=off", []string{"synchronous_commit is off: a crash of its machine loses messages that were accepted; set it to on"}},
		{"here alone", "&synchronous_commit=local", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, log := logged(schema(t) + c.options)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			run(t, s)
			s.closeDatabase() // as for a damage
			s.setFailure(s.open(t.Context()))
			got, err := s.Server(t.Context())
			if diff := cmp.Diff(c.want, got.Risks); err != nil || diff != "" || !strings.HasPrefix(got.Version, "PostgreSQL 1") {
				t.Error(err, got.Version, diff)
			}
			if n := strings.Count(log.String(), "PostgreSQL may lose messages that were accepted"); n != len(c.want) || strings.Contains(log.String(), "level=ERROR") {
				t.Error(log.String())
			}
		})
	}
	for name, is := range map[string]map[string]string{
		"synchronous_commit is local: a standby that takes over may lack messages that were accepted; set it to on": {"synchronous_commit": "local", "synchronous_standby_names": "*"},
		"fsync is off: a crash of its machine loses messages that were accepted; set it to on":                      {"fsync": "off", "synchronous_commit": "on"},
		"": {"synchronous_commit": "remote_apply", "synchronous_standby_names": "*", "fsync": "on", "full_page_writes": "on"},
	} {
		if got := strings.Join(risksOf(is), "; "); got != name {
			t.Errorf("%v: %s", is, got)
		}
	}
}

// TestChanged: everything is to be counted anew at first, when something may have been
// missed, and now and then.
func TestChanged(t *testing.T) {
	t.Parallel()
	s, _ := instance(t, schema(t), "one")
	changes := func() bool {
		t.Helper()
		changed, err := s.Changed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	if !changes() || changes() {
		t.Error("not at first, or twice")
	}
	s.missed()
	if !changes() || changes() {
		t.Error("not after something was missed, or twice")
	}
	eventually(t, "now and then", changes)
	s.mu.Lock()
	s.counted = time.Now().Add(-time.Minute)
	s.counting = 10 * time.Second
	s.mu.Unlock()
	if changes() {
		t.Error("although counting takes long")
	}
}

// TestListening: who listens hears again when the server has restarted, and when its
// connection has died in silence, and looks at everything then.
func TestListening(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, pgtest.Options{})
	direct := db.NewDatabase(t)
	proxy := proxied(t, db)
	one, _ := instance(t, direct, "one")
	_, hears := instance(t, pgtest.MustAt(t, direct, proxy.Address), "two")
	for i, dies := range []func(){
		func() {
			if err := db.Restart(true); err != nil {
				t.Fatal(err)
			}
		},
		proxy.Cut,
		proxy.Abandon,
	} {
		began := time.Now()
		dies()
		hears.hears(t, "that it was away", func() bool { return hears.missed > i+1 })
		t.Log(time.Since(began))
		hears.note(func() { hears.missed = i + 2; clear(hears.arrived) })
		recovers(t, one, record(0, me, a, "x"))
		hears.hears(t, "again", func() bool { return hears.arrived[me] > 0 })
	}
}

// TestNoticesWhileResting: who has nothing to write notices all the same that nothing can
// be kept, and that it can again.
func TestNoticesWhileResting(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, pgtest.Options{})
	s, log := logged(db.NewDatabase(t))
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if err := db.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it fails", func() bool { return s.Failure() != nil })
	if err := db.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it works", func() bool { return s.Failure() == nil })
	if text := log.String(); strings.Count(text, "level=ERROR") == 0 || strings.Count(text, "messages can be kept again") != 1 {
		t.Error(text)
	}
	t.Log(log)
}

// TestSettings: each connection has what lets the server go on without this instance, and
// what the URL says otherwise.
func TestSettings(t *testing.T) {
	at := schema(t) + "&statement_timeout=7s&application_name=mine"
	s, _ := running(t, at)
	for name, pool := range map[string]*sql.DB{"writers": s.database.writers, "readers": s.database.readers, "leases": s.database.leases, "notes": s.database.notes} {
		want := settings()
		maps.Copy(want, map[string]string{"application_name": "mine", "statement_timeout": "7s"})
		switch name {
		case "readers":
			want["statement_timeout"], want["synchronous_commit"] = "30s", "off"
		case "leases":
			want["statement_timeout"], want["lock_timeout"], want["synchronous_commit"] = "2s", "2s", "on"
		case "notes":
			want["synchronous_commit"] = "off"
		case "writers":
			want["synchronous_commit"] = "on"
		}
		for setting, value := range want {
			var is, wanted string
			err := pool.QueryRowContext(t.Context(), `SELECT current_setting($1)`, setting).Scan(&is)
			if err == nil { // as PostgreSQL writes it
				err = pool.QueryRowContext(t.Context(), `SELECT set_config($1, $2, true)`, setting, value).Scan(&wanted)
			}
			if err != nil || is != wanted {
				t.Errorf("%s: %s is %s, want %s, %v", name, setting, is, wanted, err)
			}
		}
	}
}
