package store

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/pgtest"
)

const unavailableLine = "posthorn cannot keep messages now: its administrator finds the reason in its log"

// fails checks that nothing can be kept, for a reason, and that whoever wants it
// can try again.
func fails(t *testing.T, s *Store, err error, want string) {
	t.Helper()
	f := fault.Of(err)
	if f.Kind != fault.Unavailable || !f.Passing || f.Public != unavailableLine || f.Err.Error() != want {
		t.Errorf("Put gave\n%v, want\n%s", err, want)
	}
	if strings.Contains(want, "\n") {
		t.Errorf("%q is not one line", want)
	}
	if got := s.Failure(); got == nil || got.Error() != want {
		t.Errorf("the failure is\n%v, want\n%s", got, want)
	}
	if got := testutil.ToFloat64(s.gauge); got != 1 {
		t.Errorf("posthorn_store_failing is %v", got)
	}
}

// recovers waits until a record can be kept.
func recovers(t *testing.T, s *Store, r message.Record) {
	t.Helper()
	eventually(t, "it recovers", func() bool {
		_, err := s.Put(t.Context(), []message.Record{r}, func() {})
		return err == nil
	})
	if err := s.Failure(); err != nil {
		t.Error("recovered, but:", err)
	}
	if got := testutil.ToFloat64(s.gauge); got != 0 {
		t.Errorf("posthorn_store_failing is %v", got)
	}
}

// opened gives a Store that could not be opened for a reason, and runs.
func opened(t *testing.T, path, want string) (s *Store, stop func()) {
	t.Helper()
	s = New(Options{Path: path})
	err := s.Open(t.Context())
	stop = run(t, s)
	if err == nil || err.Error() != want {
		t.Errorf("Open gave\n%v, want\n%s", err, want)
	}
	_, err = s.Put(t.Context(), []message.Record{record(100, me, a, "x")}, func() {})
	fails(t, s, err, want)
	if _, err := s.Select(t.Context(), message.Query{}); fault.Of(err).Kind != fault.Unavailable {
		t.Error("Select gave", err)
	}
	return s, stop
}

// foreign is a connection of another program's, in a transaction.
func foreign(t *testing.T, path, begin string) (end func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(begin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return func() { _ = db.Close() }
}

// TestLocked: another program has locked the database. What was there can be read,
// and what changes can be written once that has gone.
func TestLocked(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	s, stop := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	end := foreign(t, path, "BEGIN EXCLUSIVE")
	_, err := s.Put(t.Context(), []message.Record{record(2, me, a, "x")}, func() {})
	want := "store: " + path + " is locked by another program: database is locked (5) (SQLITE_BUSY)"
	fails(t, s, err, want)
	if got := seqs(mustSelect(t, s, message.Query{})); !cmp.Equal(got, []int64{1}) {
		t.Errorf("while it is locked there are %v", got)
	}
	end()
	recovers(t, s, record(2, me, a, "x"))
	stop()

	end = foreign(t, path, "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE versions SET version = version; COMMIT")
	s, _ = opened(t, path, want)
	end()
	recovers(t, s, record(3, me, a, "x"))
	if got := seqs(mustSelect(t, s, message.Query{})); !cmp.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("there are %v", got)
	}
}

// TestDamaged: a database that cannot be what we wrote is said to be damaged, and
// left as it is. Moved away, another one begins.
func TestDamaged(t *testing.T) {
	t.Parallel()
	const what = " is damaged: stop posthorn and move it away, with its -wal and -shm, and it begins a new one (sqlite3's .recover may save what it held): "
	for _, c := range []struct {
		name   string
		damage func(content []byte) []byte
		want   string
	}{
		{"not a database", func([]byte) []byte { return []byte(strings.Repeat("This is a text. ", 500)) }, "file is not a database (26)"},
		{"the header", func(c []byte) []byte { copy(c, make([]byte, 100)); return c }, "file is not a database (26)"},
		{"the schema", func(c []byte) []byte { copy(c[100:4096], make([]byte, 3996)); return c }, "database disk image is malformed (11)"},
		{"a page in the middle", func(c []byte) []byte { copy(c[len(c)/2/4096*4096:], make([]byte, 4096)); return c }, "quick_check found *** in database main *** Tree 16 page 16: btreeInitPage() returns error code 11"},
		{"cut", func(c []byte) []byte { return c[:len(c)/2/4096*4096] }, "database disk image is malformed (11)"},
		{"cut in a page", func(c []byte) []byte { return c[:5000] }, "database disk image is malformed (11)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir() + "/a.db"
			s, stop := running(t, path)
			for i := range int64(50) {
				mustPut(t, s, record(i+1, me, a, strings.Repeat("x", 500)))
			}
			stop()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content = c.damage(content)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, _ = opened(t, path, "store: "+path+what+c.want)
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, content) {
				t.Error("it was changed", err)
			}
			if err := os.Rename(path, path+".damaged"); err != nil {
				t.Fatal(err)
			}
			recovers(t, s, record(100, me, a, "x"))
		})
	}
}

// TestDamagedWhileOpen: what a reader finds unreadable fails the store, which else
// would take messages that nobody could read.
func TestDamagedWhileOpen(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	var log bytes.Buffer
	s, stop := running(t, path)
	for i := range int64(50) {
		mustPut(t, s, record(i+1, me, a, strings.Repeat("x", 5000)))
	}
	stop()
	s = New(Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop = run(t, s)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for page := int64(20); page < 40; page++ {
		if _, err := file.WriteAt(bytes.Repeat([]byte{0xff}, 4096), page*4096); err != nil {
			t.Fatal(err)
		}
	}
	_ = file.Close()
	_, err = s.Select(t.Context(), message.Query{})
	want := "store: " + path + " is damaged: stop posthorn and move it away, with its -wal and -shm, and it begins a new one (sqlite3's .recover may save what it held): "
	if f := fault.Of(err); f.Kind != fault.Unavailable || !strings.HasPrefix(f.Err.Error(), want) {
		t.Error("Select gave", err)
	}
	eventually(t, "it is noticed", func() bool { return s.Failure() != nil })
	eventually(t, "it is looked at", func() bool {
		err := s.Failure()
		return err != nil && strings.HasPrefix(err.Error(), want+"quick_check found ")
	})
	stop()
	if got := strings.Count(log.String(), "messages cannot be kept"); got != 2 || strings.Contains(log.String(), "again") {
		t.Errorf("the log has %s", log.String())
	}
}

// TestUnreadableMessage: a text that is none of ours is damage too.
func TestUnreadableMessage(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	s, stop := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	stop()
	foreign(t, path, `UPDATE messages SET content = 'x'`)()
	s, _ = running(t, path)
	_, err := s.Select(t.Context(), message.Query{})
	if f := fault.Of(err); f.Kind != fault.Unavailable || !strings.HasSuffix(f.Err.Error(), ": message 1 cannot be read: invalid character 'x' looking for beginning of value") {
		t.Error("Select gave", err)
	}
	eventually(t, "it is noticed", func() bool { return s.Failure() != nil })
}

// TestOtherVersion: a database of a later version is left alone.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	_, stop := running(t, path)
	stop()
	foreign(t, path, `INSERT INTO versions VALUES (1000)`)()
	s, _ := opened(t, path, "store: "+path+" was made by a newer posthorn: use that one")
	foreign(t, path, `DELETE FROM versions WHERE version = 1000`)()
	recovers(t, s, record(1, me, a, "x"))
}

// TestNoDirectory: there is something in the way.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, path, want string }{
		{"of the directory", dir + "/file/sub/a.db", "store: mkdir " + dir + "/file: not a directory"},
		{"of the lock", dir + "/a.db", "store: open " + dir + "/posthorn.lock: is a directory"},
		{"of the database", dir + "/other/a.db", "store: " + dir + "/other/a.db cannot be opened: it or its directory may be read-only: unable to open database file (14)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			obstacle := map[string]string{"of the directory": dir + "/file", "of the lock": dir + "/posthorn.lock", "of the database": c.path}[c.name]
			if c.name == "of the directory" {
				if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			} else if err := os.MkdirAll(obstacle, 0o700); err != nil {
				t.Fatal(err)
			}
			s, _ := opened(t, c.path, c.want)
			if err := os.Remove(obstacle); err != nil {
				t.Fatal(err)
			}
			recovers(t, s, record(1, me, a, "x"))
		})
	}
}

// withMounts runs the test in a process that can mount without anybody else seeing
// it, and as anybody: in namespaces of its own. It reports whether this is that one.
func withMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childOf) == "mounts" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childOf+"=mounts")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("with mounts: %v\n%s", err, out)
	}
	return false
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

// fill leaves so many bytes of the file system of dir free, until it is emptied.
func fill(t *testing.T, dir string, leave int64) (empty func()) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	path := dir + "/ballast"
	if err := os.WriteFile(path, make([]byte, max(0, int64(fs.Bavail)*fs.Bsize-leave)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFull: the disk is full. Whatever it was that had no room, nothing that was
// acknowledged is lost, what is there can be read, and with room it goes on.
func TestFull(t *testing.T) {
	t.Parallel()
	if !withMounts(t) {
		return
	}
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=4m")
	path := dir + "/s/a.db"
	want := "store: " + path + " has no room: the disk is full: database or disk is full (13)"
	s, stop := running(t, path)
	empty := fill(t, dir, 1<<20)
	put := int64(0)
	var err error
	for err == nil {
		put++
		_, err = s.Put(t.Context(), []message.Record{record(put, me, a, strings.Repeat("x", 3000))}, func() {})
	}
	fails(t, s, err, want)
	if put < 20 {
		t.Errorf("only %d had room", put)
	}
	if got := len(mustSelect(t, s, message.Query{})); got != int(put)-1 {
		t.Errorf("of %d there are %d", put-1, got)
	}
	if _, err := s.Settle(t.Context(), []message.Change{{Before: message.Queued, Record: in(record(1, me, a, ""), message.Bounced, 1)}}); err == nil {
		t.Error("there was room for a change")
	} else {
		fails(t, s, err, want)
	}
	empty()
	recovers(t, s, record(put, me, a, "x"))
	stop()
	s, stop = running(t, path)
	if got := len(mustSelect(t, s, message.Query{Open: true})); got != int(put) {
		t.Errorf("of %d there are %d", put, got)
	}
	stop()
}

// TestFullAtOnce: at the start there is no room for one or the other file, least of
// all for the one that SQLite maps into memory, where a page without room behind it
// would end the process.
func TestFullAtOnce(t *testing.T) {
	t.Parallel()
	if !withMounts(t) {
		return
	}
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=4m")
	failed := make(map[string]int)
	for pages := range int64(50) {
		empty := fill(t, dir, pages*4096)
		path := fmt.Sprintf("%s/%d/a.db", dir, pages)
		s := New(Options{Path: path})
		err := s.Open(t.Context())
		stop := run(t, s)
		if err != nil {
			failed[strings.TrimPrefix(err.Error(), "store: "+path+" ")]++
			_, err := s.Put(t.Context(), []message.Record{record(1, me, a, "x")}, func() {})
			fails(t, s, err, s.Failure().Error())
		}
		empty()
		if pages%8 == 0 {
			recovers(t, s, record(1, me, a, "x"))
		}
		stop()
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"has no room: the disk is full: database or disk is full (13)", "cannot be read or written: the disk is full or failing: disk I/O error (4874)"} {
		if failed[want] == 0 {
			t.Errorf("never saw %q in %v", want, failed)
		}
		delete(failed, want)
	}
	for other := range failed {
		t.Errorf("saw %q", other)
	}
}

// TestReadOnly: the file system, or the file alone, has become read-only.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	if !withMounts(t) {
		return
	}
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=4m")
	path := dir + "/a.db"
	s, stop := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	stop()

	mount(t, "", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	s, stop = opened(t, path, "store: "+path+" cannot be opened: it or its directory may be read-only: unable to open database file (14)")
	mount(t, "", dir, "", unix.MS_REMOUNT, "")
	recovers(t, s, record(2, me, a, "x"))
	stop()

	mount(t, path, path, "", unix.MS_BIND, "")
	mount(t, "", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	s, stop = opened(t, path, "store: "+path+" is read-only: attempt to write a readonly database (8)")
	mount(t, "", path, "", unix.MS_REMOUNT|unix.MS_BIND, "")
	recovers(t, s, record(3, me, a, "x"))
	if got := seqs(mustSelect(t, s, message.Query{})); !cmp.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("there are %v", got)
	}
	stop()
}

// TestBusyForAMoment: a lock that others let go of in time is no failure.
func TestBusyForAMoment(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/a.db"
	s, _ := running(t, path)
	end := foreign(t, path, "BEGIN EXCLUSIVE")
	put := make(chan error, 1)
	go func() { _, err := s.Put(t.Context(), []message.Record{record(1, me, a, "x")}, func() {}); put <- err }()
	time.AfterFunc(patience/10, end)
	if err := <-put; err != nil || s.Failure() != nil {
		t.Error(err, s.Failure())
	}
}

// TestGivesUp: where the database goes away between writes that are done one by one, nobody
// waits until each has found that out.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	proxy := proxied(t, db)
	registry := prometheus.NewRegistry()
	opts := optionsOf(pgtest.MustAt(t, db.NewDatabase(t), proxy.Address))
	opts.Metrics = registry
	s := New(opts)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.closeDatabase)
	var batch []*write
	for range 5 {
		batch = append(batch, &write{done: make(chan error, 1), do: func(c *connection) error {
			_ = proxy.Close()
			_, err := c.exec(`UPDATE messages SET attempts = attempts`)
			return err
		}})
	}
	s.commitAll(batch)
	for _, w := range batch {
		if err := <-w.done; fault.Of(err).Kind != fault.Unavailable {
			t.Error(err)
		}
	}
	if n := commits(t, registry); n != 2 { // the first, and what finds out
		t.Errorf("tried %d times", n)
	}
}
