package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"posthorn/internal/message"
)

// bodyOf is the text of the record seq: what is found has to be whole.
func bodyOf(seq int64) string {
	return strings.Repeat(fmt.Sprint(seq, " "), int((seq%400)*(seq%400)%400))
}

// A copied is a database as a crash leaves it.
type copied struct{ db, wal []byte }

// opens opens a copy, and checks that every record of acknowledged is in it, that
// each that is there is whole, and that more can be kept.
func (c copied) opens(t *testing.T, acknowledged []int64) {
	t.Helper()
	path := t.TempDir() + "/a.db"
	for suffix, content := range map[string][]byte{"": c.db, "-wal": c.wal} {
		if err := os.WriteFile(path+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, stop := running(t, path)
	defer stop()
	hasAll(t, s, acknowledged)
	mustPut(t, s, record(1<<60, me, a, "x"))
}

func hasAll(t *testing.T, s *Store, acknowledged []int64) {
	t.Helper()
	found := make(map[int64]bool)
	for _, r := range mustSelect(t, s, message.Query{}) {
		found[r.Seq] = true
		if r.Message.Body != bodyOf(r.Seq) {
			t.Errorf("message %d is not whole", r.Seq)
		}
	}
	missing := 0
	for _, seq := range acknowledged {
		if !found[seq] {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("of %d acknowledged, %d are missing", len(acknowledged), missing)
	}
}

// An ack is a record that was acknowledged, and how long the log was then: what it
// needs is before that, and was synced.
type ack struct {
	seq int64
	log int64 // bytes
}

// TestTornWrites: whatever a loss of power leaves of the end of the log, and of the
// pages of the database that were being written from it, what had been acknowledged
// by then is there.
//
// What it can leave: of the log all that was synced, which is what was acknowledged,
// and of what was written after that anything. Of the database's file all that was
// synced before the log began, and anything in the place of pages that the log has:
// a checkpoint writes those, and the log does not begin anew before they are synced.
//
// The copy is such a state although it is made of two files while commits go on: a
// reader that stays keeps the log from beginning anew, so the log's copy, the later
// one, has all that the database's could lack.
func TestTornWrites(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	s, stop := running(t, path)
	var before []int64
	for seq := int64(1); seq <= 50; seq++ {
		mustPut(t, s, record(seq, me, a, bodyOf(seq)))
		before = append(before, seq)
	}
	stop()
	s, stop = running(t, path)
	reader, err := s.database.readers.Conn(t.Context())
	if err == nil {
		_, err = reader.ExecContext(t.Context(), "BEGIN; SELECT count(*) FROM messages")
	}
	if err != nil {
		t.Fatal(err)
	}
	var acks []ack
	var mu sync.Mutex
	var putting sync.WaitGroup
	half := make(chan struct{})
	for i := range int64(8) {
		putting.Go(func() {
			for n := range int64(25) {
				seq := 1000 + i*1000 + n
				mustPut(t, s, record(seq, me, a, bodyOf(seq)))
				info, err := os.Stat(path + "-wal")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if acks = append(acks, ack{seq, info.Size()}); len(acks) == 100 {
					close(half)
				}
				mu.Unlock()
			}
		})
	}
	<-half
	mu.Lock()
	acknowledged := slices.Clone(acks)
	mu.Unlock()
	whole := copyOf(t, path)
	putting.Wait()
	last := copyOf(t, path)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	stop()

	t.Run("in the middle", func(t *testing.T) { whole.opens(t, append(by(acknowledged, int64(len(whole.wal))), before...)) })
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		kept := random.Int64N(int64(len(last.wal)))
		if i%3 == 0 { // a frame's begin and end, or beside it
			kept = max(0, min(int64(len(last.wal)), kept/frame*frame+32+int64(i%5-2)))
		}
		want := append(by(acks, kept), before...)
		for name, torn := range tear(random, last, kept) {
			t.Run(fmt.Sprint(name, " at ", kept), func(t *testing.T) { torn.opens(t, want) })
		}
	}
}

// by gives what was acknowledged when the log was no longer than that.
func by(acks []ack, log int64) (seqs []int64) {
	for _, a := range acks {
		if a.log <= log {
			seqs = append(seqs, a.seq)
		}
	}
	return seqs
}

// frame is the length of a page in the log, with its header.
const frame = 24 + 4096

// tear gives what a crash can leave of whole, where so many bytes of the log were
// synced.
func tear(random *rand.Rand, whole copied, synced int64) map[string]copied {
	noise := func(b []byte) []byte {
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	tail := int64(len(whole.wal)) - synced
	torn := map[string]copied{
		"cut":   {whole.db, whole.wal[:synced]},
		"noise": {whole.db, append(slices.Clone(whole.wal[:synced]), noise(make([]byte, tail))...)},
		"zeros": {whole.db, append(slices.Clone(whole.wal[:synced]), make([]byte, tail)...)},
	}
	hole := slices.Clone(whole.wal)
	copy(hole[synced:], make([]byte, 4096))
	torn["hole"] = copied{whole.db, hole}

	db := slices.Clone(whole.db)
	for _, page := range pages(whole.wal[:synced]) {
		if begin := (page - 1) * 4096; begin+4096 <= int64(len(db)) {
			if page == 1 {
				begin += 512 // a disk's sector is whole
			}
			noise(db[begin : page*4096])
		}
	}
	torn["database"] = copied{db, whole.wal[:synced]}
	return torn
}

// pages gives the numbers of the pages that the last commit in a log leaves there.
func pages(wal []byte) (committed []int64) {
	var numbers []int64
	for at := 32; at+frame <= len(wal); at += frame {
		numbers = append(numbers, int64(binary.BigEndian.Uint32(wal[at:])))
		if binary.BigEndian.Uint32(wal[at+4:]) != 0 { // a commit
			committed = append(committed, numbers...)
			numbers = nil
		}
	}
	return committed
}

func copyOf(t *testing.T, path string) (c copied) {
	t.Helper()
	var err error
	if c.db, err = os.ReadFile(path); err == nil {
		c.wal, err = os.ReadFile(path + "-wal")
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startPutting starts a process that puts into a database, and says what is acknowledged.
func startPutting(t *testing.T, at string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childOf+"=put", "POSTHORN_TEST_PATH="+at)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return child, bufio.NewScanner(out)
}

// TestKilled: what a process has acknowledged is there after kill -9, again and
// again, and in what any moment of it leaves.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	var all []int64
	for round := range 4 {
		child, lines := startPutting(t, path)
		all = append(all, acknowledgedBy(lines, 300)...)
		if len(all) < 300*(round+1) {
			t.Fatal("the process ended by itself")
		}
		stopped := frozen(t, child.Process, path)
		stopped.opens(t, all)
		all = append(all, acknowledgedBy(lines, 100)...)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		all = append(all, acknowledgedBy(lines, 1<<30)...)
		_ = child.Wait()
		copyOf(t, path).opens(t, all)
		s, stop := running(t, path)
		hasAll(t, s, all)
		stop()
	}
}

// TestKilledShared: so it is where several processes share the database.
func TestKilledShared(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, _ := running(t, at)
	for range 4 {
		child, lines := startPutting(t, at)
		acknowledged := acknowledgedBy(lines, 300)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acknowledged = append(acknowledged, acknowledgedBy(lines, 1<<30)...)
		_ = child.Wait()
		if len(acknowledged) < 300 {
			t.Fatal("the process ended by itself")
		}
		mustPut(t, s, record(0, me, b, "x")) // its locks are in nobody's way
		for _, n := range acknowledged {
			if found := mustSelect(t, s, message.Query{ID: fmt.Sprint(n)}); len(found) != 1 || found[0].Message.Body != bodyOf(n) {
				t.Errorf("message %d is missing, or not whole", n)
			}
		}
	}
}

func acknowledgedBy(lines *bufio.Scanner, most int) (seqs []int64) {
	for len(seqs) < most && lines.Scan() {
		var seq int64
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %d.", &seq); err == nil {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// frozen copies the files while the process stands still, wherever it is: then two
// files are of one moment.
func frozen(t *testing.T, p *os.Process, path string) copied {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "each thread stands still", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(thread string) bool {
			stat, err := os.ReadFile(thread)
			return err == nil && !strings.Contains(string(stat), ") T ")
		})
	})
	c := copyOf(t, path)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return c
}

// putUntilKilled keeps records and says so of each.
func putUntilKilled(path string) {
	ctx := context.Background()
	s := New(optionsOf(path))
	if err := s.Open(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go s.Run(ctx)
	var last atomic.Int64
	last.Store(time.Now().UnixNano()) // PostgreSQL may still be busy with what the one before has named
	for range 16 {
		go func() {
			for {
				seq := last.Add(1)
				r := with(record(seq, me, a, bodyOf(seq)), func(r *message.Record) { r.ID = fmt.Sprint(seq) })
				if _, err := s.Put(ctx, []message.Record{r}, func() {}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				_, _ = io.WriteString(os.Stdout, fmt.Sprintf("acknowledged %d.\n", seq))
			}
		}()
	}
	select {}
}
