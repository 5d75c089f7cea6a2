package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestReadStore: what the key store may be, and what is said of what it may not be.
func TestReadStore(t *testing.T) {
	getenv := func(name string) string { return map[string]string{"STATE_DIRECTORY": "/state:/other"}[name] }
	for written, want := range map[string]string{ // path, URL or a part of the error
		"":                              "",
		"sqlite":                        "/state/posthorn.db",
		"sqlite:/srv/kept.db":           "/srv/kept.db",
		"sqlite:":                       "error: has to be sqlite",
		"sqlit":                         "error: has to be sqlite",
		"/srv/kept.db":                  "error: has to be sqlite",
		"host=db dbname=posthorn":       "error: has to be sqlite",
		"mysql://db/posthorn":           "error: names a database that posthorn does not know: it has to be sqlite",
		"Postgres://db/posthorn":        "error: names a database that posthorn does not know",
		"postgres:db":                   "error: has to be sqlite",
		"postgres://db/posthorn":        "postgres://db/posthorn",
		"postgresql://db/posthorn":      "postgresql://db/posthorn",
		"postgres:///posthorn":          "postgres:///posthorn",
		"postgres://":                   "error: names no database: it has to be postgres://user@host/database",
		"postgres://db:5432/":           "error: names no database",
		"postgres://db?dbname=x":        "postgres://db?dbname=x",
		"postgres://db/x?a=1;b=2":       "error: has a query that does not parse",
		"postgres://db/x?a=%zz":         "error: has a query that does not parse",
		"postgres://db:port/x":          "error: does not parse as a URL",
		"postgres://db/x/y":             "error: does not parse as a URL",
		"postgres://me:a@b@db/x":        "error: does not parse as a URL",
		"postgres://me:a@b@db?dbname=x": "error: does not parse as a URL",
		"postgres://db?dbname=x&application_name=a@b&password=@": "postgres://db?dbname=x&application_name=a@b&password=@",
		"postgres://one:1,two:2/x":                               "postgres://one:1,two:2/x",
		"postgres:///x?host=/run/pg":                             "postgres:///x?host=/run/pg",
	} {
		d, err := readStore(written, getenv)
		got := d.storePath + d.storeURL.Reveal()
		if err != nil {
			got = "error: " + err.Error()
		}
		if begins := strings.HasPrefix(want, "error"); got != want && (!begins || !strings.HasPrefix(got, want)) {
			t.Errorf("%q: %s, want %s", written, got, want)
		}
	}
}

// TestStoreSecret: the password in a URL shows nowhere, and least of all in what is said
// of one that does not parse, whatever is in it.
func TestStoreSecret(t *testing.T) {
	for _, password := range []string{"hunter2", "hunter2/x", "99/hunter2", "99?hunter2", "99#hunter2", "hunter2?x", "hunter2#x", "hunter2%zz", "%zzhunter2", "hunter2@x", "a b hunter2", "hunter2[", "hunter2\x01"} {
		for _, form := range []string{"postgres://me:%s@db/posthorn", "postgres://me:%s@db", "postgres://me:%s@db:port/x", "mysql://me:%s@db/x", "%s", "postgres://db/x?password=%s;", "postgres://db/x?password=%s"} {
			t.Setenv("POSTHORN_STORE", fmt.Sprintf(form, strings.ReplaceAll(password, "\x01", "\t")))
			c, _, err := loadConfig("../../deploy/posthorn.yaml", func(string) string { return "" })
			var out bytes.Buffer
			fmt.Fprintln(&out, err)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				fmt.Fprintf(&out, verb+"\n", c)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("text", "c", c)
			_ = json.NewEncoder(&out).Encode(c)
			fmt.Fprintln(&out, c.storeName())
			if strings.Contains(out.String(), "hunter2") {
				t.Errorf("%q in %s shows: %v, %s", password, form, err, c.storeName())
			}
		}
	}
}
