package pgtest

import (
	"sync"
	"testing"
)

// loggedTail is how much of the server's log a failed test shows.
const loggedTail = 64 << 10

// Start opens a server for the length of the test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	s.showLog(tb)
	return s
}

// showLog puts what the server logs from now on into the log of a test that fails.
func (s *Server) showLog(tb testing.TB) {
	before := len(s.Log())
	tb.Cleanup(func() {
		if log := s.Log()[before:]; tb.Failed() {
			tb.Logf("PostgreSQL's log:\n%s", log[max(0, len(log)-loggedTail):])
		}
	})
}

// NewDatabase is CreateDatabase for the length of the test.
func (s *Server) NewDatabase(tb testing.TB) (url string) {
	tb.Helper()
	url, err := s.CreateDatabase()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if s.process == nil {
			return // it goes with the server
		}
		if err := s.DropDatabase(url); err != nil {
			tb.Error(err)
		}
	})
	return url
}

// MustAt is At for a test.
func MustAt(tb testing.TB, databaseURL, address string) string {
	tb.Helper()
	url, err := At(databaseURL, address)
	if err != nil {
		tb.Fatal(err)
	}
	return url
}

// A Shared is one server for the tests of a package:
//
//	var postgres pgtest.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Around(m)) }
//
//	func TestOutbox(t *testing.T) { url := postgres.Server(t).NewDatabase(t) … }
type Shared struct {
	Options Options // before the first test

	once   sync.Once
	server *Server
	err    error
}

// Server is the server, started by who asks first. A test that stops it starts it again.
func (s *Shared) Server(tb testing.TB) *Server {
	tb.Helper()
	s.once.Do(func() { s.server, s.err = Open(s.Options) })
	if s.err != nil {
		tb.Fatal(s.err)
	}
	s.server.showLog(tb)
	return s.server
}

// Around is those tests (a testing.M), and then the server's end.
func (s *Shared) Around(tests interface{ Run() int }) interface{ Run() int } {
	return around{s, tests}
}

type around struct {
	shared *Shared
	tests  interface{ Run() int }
}

func (a around) Run() int {
	code := a.tests.Run()
	if a.shared.server == nil {
		return code
	}
	if err := a.shared.server.Close(); err != nil {
		println(err.Error())
		return 1
	}
	return code
}
