package store

import (
	"crypto/rand"
	"strings"
	"sync"
	"testing"

	"posthorn/internal/pgtest"
	"posthorn/internal/secret"
)

// server is the PostgreSQL of all tests that do nothing to it.
var server pgtest.Shared

// each runs a test with each engine, on a database where nothing was ever kept.
func each(t *testing.T, test func(t *testing.T, at string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, t.TempDir()+"/a.db") })
	t.Run("postgres", func(t *testing.T) { test(t, schema(t)) })
}

// another is a database of its own of the engine that at is of.
func another(t *testing.T, at string) string {
	if shared(at) {
		return schema(t)
	}
	return t.TempDir() + "/a.db"
}

// shared reports whether several instances can have the database.
func shared(at string) bool { return strings.HasPrefix(at, "postgres://") }

// optionsOf are those of a Store at a path or a URL.
func optionsOf(at string) Options {
	if shared(at) {
		return Options{URL: secret.New(at)}
	}
	return Options{Path: at}
}

// schema gives the URL of a new schema of PostgreSQL's.
func schema(t testing.TB) string {
	t.Helper()
	s := server.Server(t)
	common.once.Do(func() { common.url, common.err = s.CreateDatabase() })
	name := "s" + strings.ToLower(rand.Text()[:10])
	err := common.err
	if err == nil {
		err = s.Do(common.url, "CREATE SCHEMA "+name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return common.url + "&options=-csearch_path%3D" + name
}

// common is the database in which most tests have a schema: that takes less time than a
// database.
var common struct {
	once sync.Once
	url  string
	err  error
}
