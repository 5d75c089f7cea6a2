package store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/xmpptest"
)

// changed gives a URL with something changed.
func changed(t *testing.T, text string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func passwordOf(t *testing.T, text string) (password string) {
	changed(t, text, func(u *url.URL) { password, _ = u.User.Password() })
	return password
}

// withParameter gives a URL with a parameter.
func withParameter(t *testing.T, text, name, value string) string {
	return changed(t, text, func(u *url.URL) {
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
	})
}

// TestCannotOpen: whatever is wrong with a database, a line says what to do about it, and
// shows no password; once that is done, it works.
func TestCannotOpen(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	free, err := xmpptest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := net.JoinHostPort("127.0.0.1", strconv.Itoa(free))
	for _, c := range []struct {
		name  string
		url   func(at string) string
		spoil string // statement, of which NAME is the name of the role and the database
		mend  string
		want  string // after the database's name
	}{
		{name: "password", url: func(at string) string {
			return changed(t, at, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong-secret") })
		}, want: " does not let this user in: correct user and password, or pg_hba.conf: failed to connect to "},
		{name: "database", url: func(at string) string { return changed(t, at, func(u *url.URL) { u.Path = "/none" }) },
			want: " does not exist: make the database (createdb): failed to connect to "},
		{name: "port", url: func(at string) string { return changed(t, at, func(u *url.URL) { u.Host = nobody }) },
			want: " cannot be reached: failed to connect to "},
		{name: "no trust", url: func(at string) string { return withParameter(t, at, "sslmode", "verify-full") },
			want: " has a certificate that is not trusted: name its authority's file by sslrootcert, and the host as in the certificate: failed to connect to "},
		{name: "no file", url: func(at string) string {
			return withParameter(t, withParameter(t, at, "sslmode", "verify-full"), "sslrootcert", "/nowhere.crt")
		}, want: " has a URL that names a file which posthorn's user cannot read: open /nowhere.crt: no such file or directory"},
		{name: "a standby", spoil: "ALTER DATABASE NAME SET default_transaction_read_only = on", mend: "ALTER DATABASE NAME RESET ALL",
			want: " is a standby, or read-only: name the host that can be written, or all hosts (postgres://USER@ONE,OTHER/DATABASE): failed to connect to "},
		{name: "connections", spoil: "ALTER ROLE NAME CONNECTION LIMIT 0", mend: "ALTER ROLE NAME CONNECTION LIMIT -1",
			want: " has no connection left: raise max_connections, each posthorn needs twelve: failed to connect to "},
		{name: "permission", spoil: "ALTER DATABASE NAME OWNER TO postgres", mend: "ALTER DATABASE NAME OWNER TO NAME",
			want: " does not let this user make or change tables: make it the owner of the database (ALTER DATABASE … OWNER TO …): ERROR: permission denied for schema public (SQLSTATE 42501)"},
		{name: "a parameter", url: func(at string) string { return withParameter(t, at, "target_session_attrs", "secret") },
			want: " is no URL of a PostgreSQL database (postgres://USER:PASSWORD@HOST/DATABASE): the value of target_session_attrs is none that it can have"},
		{name: "an escape", url: func(at string) string { return at + "&secret=%zz" },
			want: " is no URL of a PostgreSQL database (postgres://USER:PASSWORD@HOST/DATABASE)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := db.NewDatabase(t)
			name := strings.TrimPrefix(changedPath(t, at), "/")
			if c.spoil != "" {
				if err := db.Do("", strings.ReplaceAll(c.spoil, "NAME", name)); err != nil {
					t.Fatal(err)
				}
			} else {
				at = c.url(at)
			}
			s, log := logged(at)
			err := s.Open(t.Context())
			run(t, s)
			if want := "store: " + Redact(at) + c.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("Open gave\n%v, want\n%s", err, want)
			}
			_, put := s.Put(t.Context(), []message.Record{record(0, me, a, "x")}, func() {})
			if f := fault.Of(put); f.Kind != fault.Unavailable || !f.Passing || f.Public != unavailableLine {
				t.Error("Put gave", put)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Error("it is not one line")
			}
			for _, text := range []string{err.Error(), put.Error(), log.String()} {
				if strings.Contains(text, passwordOf(t, at)) || strings.Contains(text, "secret") {
					t.Errorf("it shows a secret: %q", text)
				}
			}
			if c.mend == "" {
				return
			}
			if err := db.Do("", strings.ReplaceAll(c.mend, "NAME", name)); err != nil {
				t.Fatal(err)
			}
			recovers(t, s, record(0, me, a, "x"))
		})
	}
}

func changedPath(t *testing.T, text string) (path string) {
	changed(t, text, func(u *url.URL) { path = u.Path })
	return path
}

// TestBesideNoTables: the administrator's commands make no tables.
func TestBesideNoTables(t *testing.T) {
	at := schema(t)
	err := New(Options{URL: secret.New(at), Beside: true}).Open(t.Context())
	if want := "store: " + Redact(at) + " has nothing of posthorn's yet: start the service once"; !errors.Is(err, ErrNothing) || err.Error() != want {
		t.Errorf("there are none: %v", err)
	}
	if n, err := server.Server(t).Ask(at, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"); n != "0" || err != nil {
		t.Errorf("made %s, %v", n, err)
	}
	_, stop := running(t, at)
	stop()
	withMigrations(t, append(migrations[:len(migrations):len(migrations)], `ALTER TABLE messages ADD COLUMN more TEXT`))
	if err := New(Options{URL: secret.New(at), Beside: true}).Open(t.Context()); err == nil || err.Error() != "store: "+Redact(at)+" was made by an older posthorn: start the service once" {
		t.Errorf("there are older ones: %v", err)
	}
}

// TestCodes: each of PostgreSQL's errors concerns those whom it has to, and is told to them
// as what it is.
func TestCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code, name string
		kind       fault.Kind
		failing    string // how it is explained; "": the store does not fail
	}{
		{"22021", "character", fault.Unsendable, ""},
		{"54000", "program limit", fault.Unsendable, ""},
		{"23514", "constraint", fault.Internal, ""},
		{"22003", "number", fault.Internal, ""},
		{"40001", "serialization", fault.Unavailable, ""},
		{"40P01", "deadlock", fault.Unavailable, ""},
		{"55P03", "lock", fault.Unavailable, ""},
		{"57014", "timeout", fault.Unavailable, ""},
		{"53100", "disk", fault.Unavailable, " has no room: its disk is full: "},
		{"53200", "memory", fault.Unavailable, ": "},
		{"25006", "read-only", fault.Unavailable, " is a standby, or read-only: name the host that can be written, or all hosts (postgres://USER@ONE,OTHER/DATABASE): "},
		{"42703", "column", fault.Unavailable, ": "},
		{"XX001", "damage", fault.Unavailable, " is damaged: restore it from a backup: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := schema(t)
			s, _ := running(t, at)
			err := server.Server(t).Do(at, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = NEW.id; END $$`,
				`CREATE TRIGGER fails BEFORE INSERT ON messages FOR EACH ROW WHEN (length(NEW.id) = 5) EXECUTE FUNCTION fail()`)
			if err != nil {
				t.Fatal(err)
			}
			bad := with(record(0, me, a, "x"), func(r *message.Record) { r.ID = c.code })
			_, err = s.Put(t.Context(), []message.Record{bad}, func() {})
			f := fault.Of(err)
			if f.Kind != c.kind {
				t.Errorf("it is %v: %v", f.Kind, err)
			}
			if c.failing == "" {
				if err := s.Failure(); err != nil {
					t.Error("the store fails:", err)
				}
				var putting sync.WaitGroup
				for range 4 {
					putting.Go(func() { mustPut(t, s, record(0, me, a, "good")) })
					putting.Go(func() {
						if _, err := s.Put(t.Context(), []message.Record{bad}, func() {}); fault.Of(err).Kind != c.kind {
							t.Error(err)
						}
					})
				}
				putting.Wait()
				return
			}
			if want := "store: " + Redact(at) + c.failing + "ERROR: as asked (SQLSTATE " + c.code + ")"; f.Err == nil || f.Err.Error() != want {
				t.Errorf("it says\n%v, want\n%s", f.Err, want)
			}
			recovers(t, s, record(0, me, a, "x"))
		})
	}
}

// TestUnknownCode: what a server does not know to be done is not done again.
func TestUnknownCode(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, _ := running(t, at)
	err := server.Server(t).Do(at, `CREATE SEQUENCE tries`,
		`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'as asked' USING ERRCODE = '40003'; END $$`,
		`CREATE TRIGGER fails BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION fail()`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), []message.Record{record(0, me, a, "x")}, func() {}); fault.Of(err).Kind != fault.Unconfirmed {
		t.Error(err)
	}
	if n, err := server.Server(t).Ask(at, "SELECT last_value FROM tries"); n != "1" || err != nil {
		t.Errorf("tried %s times, %v", n, err)
	}
	if err := s.Failure(); err != nil {
		t.Error("the store fails:", err)
	}
}

// TestLogsOnce: a failure whose words differ each time, as of connections that have other
// ports, is told of once.
func TestLogsOnce(t *testing.T) {
	s, log := logged("postgres://db/x")
	for _, text := range []string{"127.0.0.1:1->…: reset", "127.0.0.1:2->…: reset"} {
		s.setFailure(s.explain(errors.New(text)))
	}
	s.setFailure(s.explain(errURL))
	s.setFailure(nil)
	s.setFailure(s.explain(errURL))
	if text := log.String(); strings.Count(text, "level=ERROR") != 3 || strings.Count(text, "reset") != 1 {
		t.Error(text)
	}
}

// TestEncoding: a database that could not keep most texts is refused, whoever asks.
func TestEncoding(t *testing.T) {
	db := server.Server(t)
	at := db.NewDatabase(t)
	name := changedPath(t, at)[1:]
	if err := db.Do("", "DROP DATABASE "+name, "CREATE DATABASE "+name+" OWNER "+name+" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []bool{false, true} {
		err := New(Options{URL: secret.New(at), Beside: beside}).Open(t.Context())
		if want := "store: " + Redact(at) + " has the encoding LATIN1: make another database (createdb --encoding UTF8 --template template0)"; err == nil || err.Error() != want {
			t.Errorf("opened: %v", err)
		}
	}
}

// TestRedact: whatever stands in a URL, no secret comes out.
func TestRedact(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://db/x": "postgres://db/x",
		"postgres://me:secret@one:5432,two:5433/x?sslmode=disable": "postgres://one:5432,two:5433/x",
		"postgresql://me:secret@db/x?password=secret":              "postgresql://db/x",
		"postgres://me:sec/r@et@db/x":                              "no URL",
		"postgres://me:secret?secret@db/x":                         "no URL",
		"postgres://me:12/34@db/x":                                 "postgres://…",
		"postgres://me:12?34@db/x":                                 "postgres://…",
		"postgres://me:12#34@db/x":                                 "postgres://…",
		"postgres://me:secret@[::1]:5432/x":                        "postgres://[::1]:5432/x",
		"postgres://me:secret@db/x?password=a@secret":              "postgres://…",
		"postgres:///x?host=/run/postgresql&password=secret":       "postgres:///x",
		"me:secret@db":            "no URL",
		"host=db password=secret": "no URL",
		"":                        "no URL",
	} {
		if got := Redact(url); got != want {
			t.Errorf("%s is shown as %s, want %s", url, got, want)
		}
	}
	o := Options{URL: secret.New("postgres://me:hunter2@db/x")}
	if text := fmt.Sprintf("%v %+v %#v %+v", o, o, o, New(o)); strings.Contains(text, "hunter2") {
		t.Error("the password prints")
	}
}

// TestPasswords: the password may come from where PostgreSQL's own programs take it.
func TestPasswords(t *testing.T) {
	at := schema(t)
	password := passwordOf(t, at)
	without := changed(t, at, func(u *url.URL) { u.User = url.User(u.User.Username()) })
	opens := func() {
		t.Helper()
		s, stop := running(t, without)
		mustPut(t, s, record(0, me, a, "x"))
		stop()
	}
	t.Setenv("PGPASSWORD", password)
	opens()
	t.Setenv("PGPASSWORD", "")
	file := t.TempDir() + "/pass"
	if err := os.WriteFile(file, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", file)
	opens()
}
