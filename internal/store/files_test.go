package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"posthorn/internal/message"
)

// modes gives the permissions of dir and of what is in it.
func modes(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	got := make(map[string]fs.FileMode)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		got[path[len(dir):]] = info.Mode().Perm()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestModes: nobody but the owner can read what is kept, whatever the umask is and
// whatever the modes were before.
func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	private := map[string]fs.FileMode{"": 0o700, "/b": 0o700, "/b/a.db": 0o600, "/b/a.db-wal": 0o600, "/b/a.db-shm": 0o600, "/b/posthorn.lock": 0o600}
	dir := t.TempDir() + "/made"
	s, stop := running(t, dir+"/b/a.db")
	mustPut(t, s, record(1, me, a, "secret"))
	if diff := cmp.Diff(private, modes(t, dir)); diff != "" {
		t.Error("made:", diff)
	}
	crash := t.TempDir() // the files as a crash leaves them, opened up by somebody
	for _, suffix := range []string{"", "-wal", "-shm"} {
		content, err := os.ReadFile(dir + "/b/a.db" + suffix)
		if err == nil {
			err = os.WriteFile(crash+"/a.db"+suffix, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stop()
	s, _ = running(t, crash+"/a.db")
	if got := mustSelect(t, s, message.Query{}); len(got) != 1 {
		t.Errorf("%d records after a crash", len(got))
	}
	delete(private, "/b")
	for _, name := range []string{"/a.db", "/a.db-wal", "/a.db-shm", "/posthorn.lock"} {
		if got := modes(t, crash)[name]; got != 0o600 {
			t.Errorf("found with 0644: %s has %o", name, got)
		}
	}
}

// TestPaths: a path is a path, whatever SQLite would read in it.
func TestPaths(t *testing.T) {
	for _, name := range []string{"a.db", "with space.db", "a?mode=memory", "a%41#b&c;d.db", "ä☃.db", ":memory:"} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for _, path := range []string{name, "sub/" + name, filepath.Join(t.TempDir(), name)} {
				s, stop := running(t, path)
				mustPut(t, s, record(1, me, a, "x"))
				stop()
				if info, err := os.Stat(path); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", path, err)
				}
			}
		})
	}
}

// TestOneProcess: a directory is one Store's until that has ended, also where it
// could not open the database.
func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	_, stop := running(t, dir+"/a.db")
	for _, path := range []string{dir + "/a.db", dir + "/another.db"} {
		second := New(Options{Path: path})
		err := second.Open(t.Context())
		want := "store: " + dir + " is in use by another posthorn: stop that one, or give each a store of its own"
		if !errors.Is(err, ErrInUse) || err.Error() != want || second.Failure() != err {
			t.Errorf("a second Store: %v", err)
		}
	}
	stop()
	if err := os.WriteFile(dir+"/bad.db", []byte("This is no database, and long enough to be seen as none."), 0o600); err != nil {
		t.Fatal(err)
	}
	failing := New(Options{Path: dir + "/bad.db"})
	if err := failing.Open(t.Context()); err == nil {
		t.Fatal("opened what is no database")
	}
	stopFailing := run(t, failing)
	if err := New(Options{Path: dir + "/a.db"}).Open(t.Context()); !errors.Is(err, ErrInUse) {
		t.Errorf("beside one that fails: %v", err)
	}
	stopFailing()
	s, _ := running(t, dir+"/a.db")
	mustPut(t, s, record(1, me, a, "x"))
}

// TestLocksStay: trying again to open the database, while a reader of this process
// still has it, leaves SQLite's locks alone: without them another program would take
// itself for the only one, and remove the log that we write to.
func TestLocksStay(t *testing.T) {
	path := t.TempDir() + "/a.db"
	s, _ := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	locks := func() int {
		content, err := os.ReadFile("/proc/locks")
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return strings.Count(string(content), fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino))
	}
	before := locks()
	if err := prepareFile(path, false); err != nil {
		t.Fatal(err)
	}
	if after := locks(); before == 0 || after != before {
		t.Errorf("there were %d locks and are %d", before, after)
	}
}

// TestBeside: the administrator's commands read and change what the service keeps,
// while it runs and when it does not, and the service notices.
func TestBeside(t *testing.T) {
	path := t.TempDir() + "/a.db"
	s, stop := running(t, path)
	changed := func(want bool) {
		t.Helper()
		if got, err := s.Changed(t.Context()); err != nil || got != want {
			t.Errorf("changed: %v %v, want %v", got, err, want)
		}
	}
	changed(true) // it was opened
	changed(false)
	mustPut(t, s, record(1, me, a, "x"), record(2, me, a, "x"))
	changed(false) // by itself

	beside := New(Options{Path: path, Beside: true})
	if err := beside.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopBeside := run(t, beside)
	if got := seqs(mustSelect(t, beside, message.Query{})); !cmp.Equal(got, []int64{1, 2}) {
		t.Errorf("beside, it reads %v", got)
	}
	changed(false) // reading is none
	drop := func(seq int64) {
		t.Helper()
		applied, err := beside.Settle(t.Context(), []message.Change{{Before: message.Queued, Record: in(record(seq, me, a, ""), message.Expired, 1)}})
		if err != nil || !applied[0] {
			t.Fatal(applied, err)
		}
	}
	drop(1)
	changed(true)
	changed(false)
	mustPut(t, s, record(3, me, a, "x"))
	if got := seqs(mustSelect(t, beside, message.Query{Open: true})); !cmp.Equal(got, []int64{2, 3}) {
		t.Errorf("beside, it reads %v", got)
	}
	stopBeside()
	changed(false)
	mustPut(t, s, record(4, me, a, "x"))
	stop()

	beside = New(Options{Path: path, Beside: true})
	if err := beside.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopBeside = run(t, beside)
	drop(4)
	stopBeside()
	s, _ = running(t, path)
	changed(true)
	if got := seqs(mustSelect(t, s, message.Query{Open: true})); !cmp.Equal(got, []int64{2, 3}) {
		t.Errorf("afterwards, there is %v", got)
	}
}

// TestChangedIsTold: what another has changed is told, although the transaction in
// which it was seen came to nothing.
func TestChangedIsTold(t *testing.T) {
	path := t.TempDir() + "/a.db"
	s, _ := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	if _, err := s.Changed(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign(t, path, `UPDATE messages SET state = 'waiting'`)()
	taken, hold := make(chan struct{}), make(chan struct{})
	s.writes <- &write{do: func(*connection) error { close(taken); <-hold; return nil }, done: make(chan error, 1)}
	<-taken
	told := make(chan bool, 1)
	go func() { changed, err := s.Changed(t.Context()); told <- changed && err == nil }()
	eventually(t, "asked", func() bool { return len(s.writes) == 1 })
	go func() { _, _ = s.Put(t.Context(), []message.Record{record(1, me, a, "again")}, func() {}) }()
	eventually(t, "a write that fails is beside it", func() bool { return len(s.writes) == 2 })
	close(hold)
	if !<-told {
		t.Error("it was not told")
	}
}

// TestBesideNothing: the administrator's commands make no database, and change none
// to another version.
func TestBesideNothing(t *testing.T) {
	dir := t.TempDir()
	err := New(Options{Path: dir + "/b/a.db", Beside: true}).Open(t.Context())
	if want := "store: stat " + dir + "/b/a.db: no such file or directory"; !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("there is none: %v", err)
	}
	if files, _ := filepath.Glob(dir + "/*"); files != nil {
		t.Errorf("made %v", files)
	}
	if err := os.WriteFile(dir+"/empty.db", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const older = " was made by an older posthorn: start the service once"
	if err := New(Options{Path: dir + "/empty.db", Beside: true}).Open(t.Context()); err == nil || err.Error() != "store: "+dir+"/empty.db"+older {
		t.Errorf("there is an empty one: %v", err)
	}
	_, stop := running(t, dir+"/a.db")
	stop()
	withMigrations(t, append(migrations[:len(migrations):len(migrations)], `ALTER TABLE messages ADD COLUMN more TEXT`))
	if err := New(Options{Path: dir + "/a.db", Beside: true}).Open(t.Context()); err == nil || err.Error() != "store: "+dir+"/a.db"+older {
		t.Errorf("there is an older one: %v", err)
	}
	_, stop = running(t, dir+"/a.db")
	stop()
	migrations = migrations[:len(migrations)-1]
	if err := New(Options{Path: dir + "/a.db", Beside: true}).Open(t.Context()); err == nil || err.Error() != "store: "+dir+"/a.db was made by a newer posthorn: use that one" {
		t.Errorf("there is a newer one: %v", err)
	}
}

// withMigrations puts others in the place of migrations until the test ends.
func withMigrations(t *testing.T, others []string) {
	before := migrations
	t.Cleanup(func() { migrations = before })
	migrations = others
}

// TestMigrations: an older database gets what it lacks, in order, each step once
// and as a whole, and keeps what it has.
func TestMigrations(t *testing.T) {
	path := t.TempDir() + "/a.db"
	s, stop := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	stop()
	first := migrations[:len(migrations):len(migrations)]
	second := append(first, `CREATE TABLE more (n INTEGER NOT NULL); INSERT INTO more SELECT count(*) FROM messages`)
	bad := append(second[:len(second):len(second)], `INSERT INTO more VALUES (100); INSERT INTO nowhere VALUES (1)`)
	withMigrations(t, bad)
	s = New(Options{Path: path})
	if err := s.Open(t.Context()); err == nil || err.Error() != "store: "+path+": SQL logic error: no such table: nowhere (1)" {
		t.Errorf("a migration that fails: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ended)
	migrations = append(second[:len(second):len(second)], `UPDATE more SET n = n + 10`)
	for range 2 {
		s, stop = running(t, path)
		var n int
		if err := s.database.readers.QueryRowContext(t.Context(), `SELECT sum(n) FROM more`).Scan(&n); err != nil || n != 11 {
			t.Errorf("the steps came to %d, %v", n, err)
		}
		if got := mustSelect(t, s, message.Query{}); len(got) != 1 {
			t.Errorf("there are %d records", len(got))
		}
		stop()
	}
}
