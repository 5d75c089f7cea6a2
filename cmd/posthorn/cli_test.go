package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/viper"

	"posthorn/auth"
	"posthorn/internal/secret"
	"posthorn/internal/store"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: func(e *testscript.Env) error {
		// A database as a service leaves it.
		s := store.New(store.Options{Path: filepath.Join(e.WorkDir, "posthorn.db")})
		err := s.Open(t.Context())
		start(s.Run)()
		return err
	}})
}

func load(t *testing.T, file string) config {
	t.Helper()
	c, _, err := loadConfig(file, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDeployedServerConfig: the files in deploy/ are what server-config prints
// for the smallest configuration.
func TestDeployedServerConfig(t *testing.T) {
	c := load(t, "../../deploy/posthorn.yaml")
	for file, lines := range map[string]string{"prosody.cfg.lua": prosodyLines, "ejabberd.yml": ejabberdLines} {
		want, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := writeLines(&got, lines, &c); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("deploy/%s is not what server-config prints:\n%s", file, diff)
		}
	}
}

// TestServerConfigQuotes: a secret with anything in it stays one string.
func TestServerConfigQuotes(t *testing.T) {
	if got, want := quoteLua("a\"b\\c\nd"), `"a\"b\\c\nd"`; got != want {
		t.Errorf("in Lua: %s, want %s", got, want)
	}
	if got, err := quoteYAML("a\"b\\c\nd: #"); err != nil || got != `"a\"b\\c\nd: #"` {
		t.Errorf("in YAML: %s, %v", got, err)
	}
}

// TestDeployedConfig: deploy/posthorn.yaml shows every key, and each that is
// commented out stands there with its default.
func TestDeployedConfig(t *testing.T) {
	text, err := os.ReadFile("../../deploy/posthorn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^( *)#([a-z_]+:|  )`).ReplaceAll(text, []byte("$1$2"))
	v := viper.New()
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(all)); err != nil {
		t.Fatalf("%v in\n%s", err, all)
	}
	want := viper.New()
	for key, value := range defaults {
		want.SetDefault(key, value)
	}
	for key, value := range defaults {
		if slices.Contains([]string{"component.domain", "component.secret", "auth.hosts"}, key) {
			continue
		}
		if got := v.Get(key); !v.IsSet(key) && !reflect.ValueOf(value).IsZero() || strings.Trim(viperString(got), "[]") != strings.Trim(viperString(value), "[]") {
			t.Errorf("%s is %v, and the default is %v", key, got, value)
		}
	}
	for _, key := range v.AllKeys() {
		if _, known := defaults[key]; !known {
			t.Errorf("%s is no key", key)
		}
	}
}

func viperString(value any) string {
	v := viper.New()
	v.Set("v", value)
	if list := v.GetStringSlice("v"); len(list) > 0 {
		return strings.Join(list, " ")
	}
	return v.GetString("v")
}

// TestArrows: packages import each other one way only.
func TestArrows(t *testing.T) {
	leaves := []string{"internal/message", "internal/fault", "internal/secret", "internal/quota"}
	allowed := map[string][]string{
		"auth":              {"internal/stream", "internal/token"},
		"component":         {"internal/stream"},
		"httpapi":           {"internal/render", "internal/token"},
		"internal/pgtest":   {"internal/xmpptest"},
		"internal/render":   nil,
		"internal/delivery": nil,
		"internal/lease":    nil,
		"internal/store":    {"internal/token"},
		"internal/token":    nil,
		"deploy/container":  nil, // tests alone
		"deploy/packages":   nil,
		"internal/stream":   nil,
		"internal/upload":   nil,
		"cmd/posthorn":      {"auth", "component", "httpapi", "internal/delivery", "internal/lease", "internal/render", "internal/store", "internal/token", "internal/upload"},
	}
	for _, leaf := range leaves {
		allowed[leaf] = nil
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "posthorn/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		imports := strings.Fields(line)
		from, ours := strings.CutPrefix(imports[0], "posthorn/")
		if !ours || strings.HasPrefix(from, "internal/xmpptest") {
			continue
		}
		arrows, known := allowed[from]
		if !known {
			t.Errorf("%s is not in the drawing", from)
		}
		for _, path := range imports[1:] {
			to, ours := strings.CutPrefix(path, "posthorn/")
			isLeaf := slices.Contains(leaves, to) && !slices.Contains(leaves, from)
			if ours && !isLeaf && !slices.Contains(arrows, to) {
				t.Errorf("%s imports %s", from, to)
			}
		}
	}
}

// exported is a registry with every metric that there can be.
func exported(t *testing.T) *prometheus.Registry {
	t.Helper()
	c := load(t, "../../deploy/posthorn.yaml")
	c.storeURL = secret.New("postgres://db.example.com/posthorn")
	share := newSharing(&c)
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	files := &certificate{}
	files.pair.Store(&tls.Certificate{Leaf: &x509.Certificate{}})
	measure(registry, files)
	authOptions, err := c.auth(log, registry)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.New(authOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	keeper := store.New(c.store(log, registry))
	stream, deliverer := c.deliverer(keeper, share, log, registry)
	share.join(keeper, stream, deliverer, log, registry)
	uploads, err := c.uploads(slots{stream}, registry)
	if err != nil {
		t.Fatal(err)
	}
	c.handler(stream, keeper, share, verifier, deliverer, nil, uploads, log, registry)
	return registry
}

// TestMetricsDocumented: docs/operating.md has a line for each metric, with
// its help, and no others but those of Go and the process.
func TestMetricsDocumented(t *testing.T) {
	descriptions := make(chan *prometheus.Desc, 1000)
	exported(t).Describe(descriptions)
	close(descriptions)
	text := regexp.MustCompile(`fqName: "([^"]*)", help: "([^"]*)".*variableLabels: \{([^}]*)\}`)
	var want []string
	for d := range descriptions {
		m := text.FindStringSubmatch(d.String())
		if !strings.HasPrefix(m[1], "posthorn_") {
			continue
		}
		if m[3] != "" {
			m[1] += "{" + m[3] + "}"
		}
		want = append(want, "| `"+m[1]+"` | "+m[2]+" |")
	}
	slices.Sort(want)
	doc, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile("(?m)^\\| `posthorn_.*$").FindAllString(string(doc), -1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/operating.md differs from what is exported:\n%s\nwant\n%s", diff, strings.Join(want, "\n"))
	}
}
