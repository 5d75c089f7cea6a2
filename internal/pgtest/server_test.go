package pgtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthorn/internal/pgtest"
	"posthorn/internal/xmpptest"
)

var shared pgtest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Around(m)) }

// ask fails the test where there is no answer.
func ask(t *testing.T, s *pgtest.Server, url, query string) string {
	t.Helper()
	answer, err := s.Ask(url, query)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func do(t *testing.T, s *pgtest.Server, url string, statements ...string) {
	t.Helper()
	if err := s.Do(url, statements...); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsCommittedOutlives: on the same address, whatever ended the server.
func TestWhatIsCommittedOutlives(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	url := s.NewDatabase(t)
	do(t, s, url, "CREATE TABLE words (word text)")
	for name, end := range map[string]func() error{
		"restart":           func() error { return s.Restart(false) },
		"restart at once":   func() error { return s.Restart(true) },
		"stop":              func() error { return errors.Join(s.Stop(), s.Start()) },
		"stop while paused": func() error { return errors.Join(s.Pause(), s.Stop(), s.Start()) },
		"kill":              func() error { return errors.Join(s.Kill(), s.Start()) },
		"kill while paused": func() error { return errors.Join(s.Pause(), s.Kill(), s.Start()) },
	} {
		do(t, s, url, "INSERT INTO words VALUES ('"+name+"')")
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := ask(t, s, url, "SELECT count(*) FROM words WHERE word = '"+name+"'"); got != "1" {
			t.Errorf("%s: %s of it", name, got)
		}
	}
}

// TestStopEndsConnections: one that is in use does not keep the server.
func TestStopEndsConnections(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	url := s.NewDatabase(t)
	answer := make(chan error, 1)
	go func() { answer <- s.Do(url, "SELECT pg_sleep(600)") }()
	xmpptest.Wait(t, 20*time.Second, "the query", func() bool {
		return ask(t, s, "", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == "1"
	})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err == nil {
		t.Error("the query was answered")
	}
	if xmpptest.Accepts(s.Address) {
		t.Error("it still listens")
	}
}

// TestPausedServerIsSilent: to who has a connection and to who wants one.
func TestPausedServerIsSilent(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	old := dial(t, s.Address)
	if !answers(t, old, gssRequest, 20*time.Second) {
		t.Fatal("no answer from a server that runs")
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	const moment = 100 * time.Millisecond
	if answers(t, old, sslRequest, moment) || answers(t, dial(t, s.Address), sslRequest, moment) {
		t.Error("a paused server has answered")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "", "SELECT 1"); got != "1" {
		t.Error(got)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// What is answered by one byte before anything else; each may be sent once.
const (
	sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	gssRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"
)

func answers(t *testing.T, conn net.Conn, request string, within time.Duration) bool {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(within))
	_, err := io.ReadFull(conn, make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// TestDatabasesAreApart: each role is its own database's, by its password.
func TestDatabasesAreApart(t *testing.T) {
	s := shared.Server(t)
	one, two := s.NewDatabase(t), s.NewDatabase(t)
	do(t, s, one, "CREATE TABLE t (n int)")
	if got := ask(t, s, two, "SELECT count(*) FROM pg_tables WHERE tablename = 't'"); got != "0" {
		t.Error("the other database has the table")
	}
	if got := ask(t, s, one, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"); got != "f" {
		t.Error("the role may more than an administrator would let it")
	}
	before, after, _ := strings.Cut(one, "@")
	if err := s.Do(before+"x@"+after, "SELECT 1"); err == nil {
		t.Error("a wrong password was taken")
	}
	if got := ask(t, s, "", "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'postgres'"); got != "t" {
		t.Error("passwords are not kept as scram-sha-256")
	}
}

func TestByAProxy(t *testing.T) {
	s := shared.Server(t)
	proxy := xmpptest.StartProxy(t, s.Address)
	url := pgtest.MustAt(t, s.NewDatabase(t), proxy.Address)
	if got := ask(t, s, url, "SELECT 1"); got != "1" || proxy.Accepted() != 1 {
		t.Errorf("%q, %d connections through the proxy", got, proxy.Accepted())
	}
}

// TestTLS: who trusts its authority connects by TLS, where it has to, and by a proxy.
func TestTLS(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{Access: []string{"hostssl all all 127.0.0.1/32 scram-sha-256"}})
	url := pgtest.MustAt(t, s.NewDatabase(t), xmpptest.StartProxy(t, s.Address).Address)
	if err := s.Do(url, "SELECT 1"); err == nil {
		t.Error("it was admitted without TLS")
	}
	url = strings.Replace(url, "sslmode=disable", "sslmode=verify-full&sslrootcert="+s.CAFile, 1)
	if got := ask(t, s, url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "t" {
		t.Errorf("%q", got)
	}
}

func TestSettings(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{Settings: []string{"fsync = off", "synchronous_commit = local"}})
	for name, want := range map[string]string{"fsync": "off", "synchronous_commit": "local", "unix_socket_directories": ""} {
		if got := ask(t, s, "", "SHOW "+name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}

func TestDatabasesGoWithTheirTests(t *testing.T) {
	s := shared.Server(t)
	t.Run("a test", func(t *testing.T) { do(t, s, s.NewDatabase(t), "CREATE TABLE t (n int)") })
	if got := ask(t, s, "", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'posthorn%'"); got != "0" {
		t.Errorf("%s roles are left", got)
	}
}

func TestSaysWhyItDoesNotStart(t *testing.T) {
	_, err := pgtest.Open(pgtest.Options{Settings: []string{"no_such_setting = 1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("%v", err)
	}
}

func TestPortIsTaken(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", s.Address)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil {
		t.Error("it has started on a port that somebody else has")
	}
	other.Close()
	if err := s.Start(); err != nil {
		t.Error(err)
	}
}

// TestDiesWithItsParent: the server ends when the program that started it is killed.
// This very test is that program.
func TestDiesWithItsParent(t *testing.T) {
	if file := os.Getenv("PGTEST_CHILD"); file != "" {
		s := pgtest.Start(t, pgtest.Options{})
		os.WriteFile(file+"~", []byte(s.Address), 0o600)
		os.Rename(file+"~", file)
		select {}
	}
	file := filepath.Join(t.TempDir(), "address")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDiesWithItsParent$")
	cmd.Env = append(os.Environ(), "PGTEST_CHILD="+file, "TMPDIR="+childDir(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var address []byte
	xmpptest.Wait(t, 30*time.Second, "the child's server", func() (up bool) {
		address, _ = os.ReadFile(file)
		return len(address) > 0
	})
	cancel()
	cmd.Wait()
	xmpptest.Wait(t, 20*time.Second, "the end of the child's server", func() bool { return !xmpptest.Accepts(string(address)) })
}

// childDir is where the child has its files, which it does not live to remove. The
// user postgres may enter it.
func childDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtest-child-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
