package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	keyboard "github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/viper"

	"posthorn/internal/xmpptest"
)

// TestPage: what a person does on the page, in Chromium, and what comes of it. One
// browser, one Prosody and one posthorn serve all of it; the last parts stop these.
func TestPage(t *testing.T) {
	o := keepsAll
	o.Extra = fmt.Sprintf("Component %q \"muc\"", rooms)
	p := prosodyWithUsers(t, o)
	p.Users(t, password, "owner@example.com")
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	browser := startBrowser(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, context.Context, *xmpptest.Server, *posthorn)
	}{
		{"sign in", testPageSignIn},
		{"password", testPagePassword},
		{"send", testPageSend},
		{"tokens", testPageTokens},
		{"elsewhere", testPageElsewhere},
		{"keyboard", testPageKeyboard},
		{"without a script", testPageWithoutScript},
		{"away", testPageAway},
		{"without a store", testPageWithoutStore},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(t, browser, p, h) }) {
			break // the others would only take long
		}
	}
}

// signedIn opens a tab and signs in.
func signedIn(t *testing.T, browser context.Context, h *posthorn) *tab {
	t.Helper()
	tb := openTab(t, browser, h.URL)
	tb.signIn("me@example.com", password)
	tb.see("#who", "me@example.com")
	return tb
}

// testPageSignIn: a wrong password is said on the page, and by no dialog of the browser's,
// which would ask for another one.
func testPageSignIn(t *testing.T, browser context.Context, _ *xmpptest.Server, h *posthorn) {
	tb := openTab(t, browser, h.URL)
	tb.see("#sign-in", "Sign in")
	if shown := tb.text("main"); strings.Contains(shown, "Message") {
		t.Errorf("before somebody signs in there is %s", shown)
	}
	tb.shoot("sign-in")
	tb.signIn("me@example.com", "wrong")
	tb.see("#sign-in-said", "password")
	tb.shoot("wrong-password")
	if n := tb.asked(); n != 0 {
		t.Errorf("the browser asked for a password itself, %d times", n)
	}
	// What the page does about that is what keeps the browser from it.
	evaluate[int](tb, `fetch("status", {headers: {Authorization: "Basic x"}}).then((r) => r.status)`)
	if n := tb.asked(); n != 1 {
		t.Errorf("a request with the browser's own credentials led to %d questions", n)
	}
	tb.fill("password", password)
	tb.press("#sign-in-form button")
	tb.see("#who", "me@example.com")
	tb.see("#stream", "connected")
	if focus := evaluate[string](tb, "document.activeElement.id"); focus != "to" {
		t.Errorf("the focus is on %q", focus)
	}
	tb.press("#sign-out")
	tb.see("#sign-in", "Sign in")
	if shown := tb.text("body"); strings.Contains(shown, "me@example.com") {
		t.Errorf("after signing out there is %s", shown)
	}
}

// testPagePassword: it is in the page's memory and nowhere else, and goes with it.
func testPagePassword(t *testing.T, browser context.Context, _ *xmpptest.Server, h *posthorn) {
	tb := signedIn(t, browser, h)
	places := evaluate[string](tb, `(async () => JSON.stringify([
		{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state, name,
		await indexedDB.databases(), await caches.keys(), (await navigator.serviceWorker.getRegistrations()).length,
		document.documentElement.outerHTML, Array.from(document.querySelectorAll("input, textarea"), (f) => f.value),
	]))()`)
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte("me@example.com:" + password))} {
		if strings.Contains(places, form) {
			t.Errorf("%s is in %s", form, places)
		}
	}
	if !strings.HasPrefix(places, `[{},{},"",`) || !strings.Contains(places, `/",null,"",[],[],0,`) {
		t.Errorf("something is stored: %.200s", places)
	}
	tb.do(chromedp.Reload())
	tb.see("#sign-in", "Sign in")
	tb.signIn("me@example.com", password)
	tb.see("#who", "me@example.com")
	tb.do(chromedp.Navigate(h.URL+"/healthz"), chromedp.NavigateBack())
	tb.see("#sign-in", "Sign in")
	if shown := tb.text("main"); strings.Contains(shown, "Message") {
		t.Errorf("who comes back sees %s", shown)
	}
}

// testPageSend: each outcome is shown as what it is, and stands among the last ones.
func testPageSend(t *testing.T, browser context.Context, p *xmpptest.Server, h *posthorn) {
	user := p.MustLogin(t, "user@example.com", password)
	tb := signedIn(t, browser, h)
	tb.send("user", "Grüße <b>&</b> 'mehr'\nund \"so\" 😀")
	tb.see("#outcome", "Delivered – user@example.com")
	tb.shoot("delivered")
	expect(t, user, "me@example.com", "Grüße <b>&</b> 'mehr'\nund \"so\" 😀")

	tb.send("ghost@example.com", "is anybody there?")
	tb.see("#outcome", "Not sent – ghost@example.com")
	tb.see("#outcome", "service-unavailable")
	if kept := evaluate[string](tb, "document.getElementById('body').value"); kept != "is anybody there?" {
		t.Errorf("what was not sent has become %q", kept)
	}
	tb.shoot("bounced")
	tb.send("user, ghost", "to two")
	tb.see("#outcome", "Delivered – user@example.com")
	tb.see("#outcome", "Not sent – ghost@example.com")
	expect(t, user, "me@example.com", "to two")

	r := openRoom(t, p.MustLogin(t, "owner@example.com", password), "ops", nil)
	tb.press("[name=type][value=groupchat]")
	tb.send(r.address(), "to a room")
	tb.see("#outcome", "Delivered – "+r.address())
	r.hears(t, "to a room")
	tb.send("none@"+rooms, "to a room that is none")
	tb.see("#outcome", "Not sent – none@"+rooms)

	tb.see("#outcomes li:nth-child(1)", "none@"+rooms)
	tb.see("#outcomes li:nth-child(2)", "Delivered")
	tb.see("#chart-text", "3 sent and 3 not sent")
	if bars := evaluate[int](tb, "document.querySelectorAll('#chart rect').length"); bars < 2 {
		t.Errorf("the chart has %d bars", bars)
	}
}

// testPageTokens: made, used, and revoked after a question.
func testPageTokens(t *testing.T, browser context.Context, p *xmpptest.Server, h *posthorn) {
	tb := signedIn(t, browser, h)
	tb.see("#tokens-said", "You have none.")
	tb.press("#make-token summary")
	tb.fill("token-name", "backup@db1")
	tb.fill("token-recipients", "nobody")
	tb.press("#token-form button")
	tb.see("#token-said", "nobody")
	tb.fill("token-recipients", "user@example.com, rooms.example.com")
	tb.shoot("token-form")
	tb.press("#token-form button")
	tb.see("#token-list", "backup@db1")
	tb.see("#token-list", "user@example.com, rooms.example.com")
	token := tb.text("#new-token-text")
	if focus := evaluate[string](tb, "document.activeElement.id"); focus != "new-token" || !strings.HasPrefix(token, "ph_") {
		t.Errorf("the focus is on %q, and the token is %q", focus, token)
	}
	tb.see("#snippet", "me@example.com:"+token)
	tb.shoot("token-made")
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	if a := h.mustPost(t, "/msg/user", "by the token", bearer); a.status != http.StatusCreated {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := h.mustPost(t, "/msg/me", "beyond it", bearer); a.status != http.StatusForbidden {
		t.Errorf("%d %s", a.status, a.raw)
	}
	tb.press("#token-list button")
	tb.see("#confirm", "Revoke backup@db1?")
	tb.shoot("token-revoked")
	tb.press("#confirm button.plain")
	if a := h.mustPost(t, "/msg/user", "it is kept", bearer); a.status != http.StatusCreated {
		t.Errorf("%d %s", a.status, a.raw)
	}
	tb.press("#token-list button")
	tb.press("#confirm button.danger")
	tb.see("#tokens-said", "You have none.")
	if a := h.mustPost(t, "/msg/user", "it is revoked", bearer); a.status != http.StatusUnauthorized {
		t.Errorf("%d %s", a.status, a.raw)
	}
	tb.press("#sign-out")
	if left := evaluate[string](tb, "document.documentElement.outerHTML"); strings.Contains(left, token) {
		t.Error("the token is there after signing out")
	}
	user := p.MustLogin(t, "user@example.com", password)
	for range 2 {
		user.MustReceive(t)
	}
}

// testPageElsewhere: what is copied works as it is.
func testPageElsewhere(t *testing.T, browser context.Context, p *xmpptest.Server, h *posthorn) {
	user := p.MustLogin(t, "user@example.com", password)
	tb := signedIn(t, browser, h)
	tb.see("#snippet", "TOKEN")
	tb.press("#make-token summary")
	tb.fill("token-name", "elsewhere")
	tb.press("#token-form button")
	tb.see("#snippet", "ph_")
	const text = "it's 95% full\nsee $HOME and \"that\" \\ `x`"
	tb.fill("to", "user")
	tb.fill("body", text)
	snippets := make(map[string]string)
	for _, tool := range []string{"grafana", "alertmanager", "cron", "curl"} {
		tb.press("[name=tool][value=" + tool + "]")
		snippets[tool] = tb.text("#snippet")
		if strings.Contains(snippets[tool], password) {
			t.Errorf("%s has the password", tool)
		}
	}
	for _, before := range []string{"", "Object.defineProperty(navigator, 'clipboard', {value: undefined})"} { // as without encryption
		tb.fill("body", text)
		tb.do(chromedp.Evaluate[chromedp.Void](before))
		tb.press("#copy-snippet")
		tb.see("#copy-snippet", "Copied")
		tb.see("#copy-snippet", "Copy")
		tb.fill("body", "-")
		tb.do(chromedp.Evaluate[chromedp.Void]("document.getElementById('body').select()"), paste)
		if got := evaluate[string](tb, "document.getElementById('body').value"); got != snippets["curl"] {
			t.Errorf("what was copied is %q", got)
		}
	}
	shell(t, snippets["curl"])
	expect(t, user, "me@example.com", text)
	line, found := strings.CutPrefix(snippets["cron"], "0 6 * * * ")
	if !found || strings.Contains(line, "\n") || strings.Contains(strings.ReplaceAll(line, `\%`, ""), "%") {
		t.Errorf("cron would run %q", line)
	}
	shell(t, strings.ReplaceAll(line, `\%`, "%"))
	expect(t, user, "me@example.com", strings.ReplaceAll(text, "\n", " "))

	file := filepath.Join(t.TempDir(), "alertmanager.yml")
	if err := os.WriteFile(file, []byte("route: {receiver: posthorn}\n"+snippets["alertmanager"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("amtool", "check-config", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for tool, key := range map[string][3]string{
		"alertmanager": {"receivers.0.webhook_configs.0.url", "receivers.0.webhook_configs.0.http_config.basic_auth.username", "receivers.0.webhook_configs.0.http_config.basic_auth.password"},
		"grafana":      {"contactpoints.0.receivers.0.settings.url", "contactpoints.0.receivers.0.settings.username", "contactpoints.0.receivers.0.settings.password"},
	} {
		v := viper.New()
		v.SetConfigType("yaml")
		if err := v.ReadConfig(strings.NewReader(snippets[tool])); err != nil {
			t.Fatalf("%v: %s", err, snippets[tool])
		}
		payload := samplePayload(t, tool)
		a := h.mustPost(t, strings.TrimPrefix(v.GetString(key[0]), h.URL), payload, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.SetBasicAuth(v.GetString(key[1]), v.GetString(key[2]))
		})
		if a.status != http.StatusCreated {
			t.Fatalf("%s: %d %s to %s", tool, a.status, a.raw, v.GetString(key[0]))
		}
		if m := user.MustReceive(t); !strings.Contains(m.Body, "🔥") {
			t.Errorf("%s: received %s", tool, m.Body)
		}
	}
	tb.press("[name=type][value=groupchat]")
	tb.fill("to", "ops@"+rooms)
	tb.see("#snippet", "/msg/ops@"+rooms+"?type=groupchat'")
	tb.press("#elsewhere a")
	tb.see("h1", "posthorn")
	tb.see("main, body", "/msg/{to}")
}

// paste puts what was copied where the focus is.
var paste = chromedp.KeyEvent("v", chromedp.KeyModifiers(chromedp.ModifierCtrl), func(p *keyboard.DispatchKeyEventParams) { p.Commands = []string{"paste"} })

// shell runs a command as a shell does.
func shell(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, line, out)
	}
}

// samplePayload is what a tool sends when an alert fires.
func samplePayload(t *testing.T, tool string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../internal/render/testdata/payloads", tool, "firing.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sample struct{ Payload json.RawMessage }
	if err := json.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	return string(sample.Payload)
}

// testPageKeyboard: everything can be reached by the keyboard, in the order in which it is
// read, and has a role and a name.
func testPageKeyboard(t *testing.T, browser context.Context, _ *xmpptest.Server, h *posthorn) {
	tb := openTab(t, browser, h.URL)
	tb.see("#sign-in", "Sign in")
	tb.do(chromedp.KeyEvent("\tme@example.com\t" + password + "\r"))
	tb.see("#who", "me@example.com")
	tb.do(chromedp.KeyEvent("user"))
	want := []string{"to", "chat", "body", "Send", "curl", "Configuration", "copy-snippet", "The whole HTTP API", "Revoke elsewhere", "Make a token"}
	var got []string
	for range want {
		got = append(got, evaluate[string](tb, `(({id, name, value, ariaLabel, innerText}) => id || (name && value) || ariaLabel || innerText)(document.activeElement)`))
		tb.do(chromedp.KeyEvent("\t"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	tb.press("#make-token summary")
	tree := tell(tb, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	roles := make(map[string][]string)
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		roles[said(node.Role)] = append(roles[said(node.Role)], said(node.Name))
	}
	for role, names := range map[string][]string{
		"textbox":            {"To", "Message", "Name", "Only to (optional)", "Only webhooks of (optional)"},
		"combobox":           {"Good for"},
		"radio":              {"a person", "a room", "curl", "cron", "Alertmanager", "Grafana"},
		"button":             {"Sign out", "Send", "Copy", "Revoke elsewhere", "Make it"},
		"heading":            {"posthorn", "Write", "From a script or a tool", "State", "Your last messages", "Tokens"},
		"region":             {"Write", "From a script or a tool", "State", "Your last messages", "Tokens"},
		"link":               {"The whole HTTP API"},
		"main":               {""},
		"DisclosureTriangle": {"Make a token"},
	} {
		if diff := cmp.Diff(names, roles[role], cmpopts.SortSlices(strings.Compare)); diff != "" {
			t.Errorf("%s: %s", role, diff)
		}
	}
	if charts := slices.Concat(roles["img"], roles["image"]); !slices.ContainsFunc(charts, func(name string) bool { return strings.Contains(name, "Messages a minute") }) {
		t.Errorf("the chart has no text: %q", charts)
	}
	for role := range roles {
		if role == "status" || role == "alert" {
			continue
		}
		for _, name := range roles[role] {
			if name == "" && slices.Contains([]string{"textbox", "button", "radio", "combobox", "checkbox", "link"}, role) {
				t.Errorf("a %s has no name", role)
			}
		}
	}
	if moves := evaluate[string](tb, "getComputedStyle(document.querySelector('button')).transitionDuration"); moves != "0.15s" {
		t.Errorf("a button changes in %s", moves)
	}
	tb.look(views[0]) // with reduced motion
	if moves := evaluate[string](tb, "getComputedStyle(document.querySelector('button')).transitionDuration"); moves != "0s" {
		t.Errorf("with reduced motion a button changes in %s", moves)
	}
	tb.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('#token-list button').focus()"), chromedp.KeyEvent("\r"))
	tb.see("#confirm", "Revoke elsewhere?")
	tb.do(chromedp.KeyEvent("\r")) // on what does no harm
	tb.see("#token-list", "elsewhere")
	if focus := evaluate[string](tb, "document.activeElement.ariaLabel"); focus != "Revoke elsewhere" {
		t.Errorf("after the question the focus is on %q", focus)
	}
}

// said is a value of the accessibility tree as text.
func said(v *accessibility.Value) (text string) {
	if v != nil {
		_ = json.Unmarshal(v.Value, &text)
	}
	return text
}

// testPageWithoutScript: a form, the browser's own question for the password, and a page
// with the true outcome.
func testPageWithoutScript(t *testing.T, browser context.Context, p *xmpptest.Server, h *posthorn) {
	user := p.MustLogin(t, "user@example.com", password)
	tb := openTab(t, browser, h.URL)
	tell(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	tb.visit()
	tb.see("#write", "Your browser will ask")
	if shown := tb.text("main"); strings.Contains(shown, "Sign in") || strings.Contains(shown, "Tokens") {
		t.Errorf("without its script the page has %s", shown)
	}
	tb.shoot("plain")
	tb.answers("me@example.com", password)
	tb.send("user", "without a script,\nin two lines")
	tb.see("h1", "Delivered")
	tb.shoot("plain-delivered")
	expect(t, user, "me@example.com", "without a script,\nin two lines")
	tb.press("main a")
	tb.see("#write", "Message")
	tb.send("ghost", "x")
	tb.see(".outcome", "the server would not deliver")
	if tb.asked() == 0 {
		t.Error("the browser did not ask for the password")
	}
}

// testPageAway: the server is away, comes back, and then posthorn is away.
func testPageAway(t *testing.T, browser context.Context, p *xmpptest.Server, h *posthorn) {
	user := p.MustLogin(t, "user@example.com", password)
	tb := signedIn(t, browser, h)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	user.Close()
	xmpptest.Wait(t, tabPatience, "the stream is down", func() bool { return !h.sends() })
	tb.hurry()
	tb.see("#stream", "not connected")
	tb.send("user", "later")
	tb.see("#outcome", "Queued – user@example.com")
	tb.see("#kept", "1, of which 1 yours")
	tb.see("#outcomes li", "Queued")
	tb.shoot("server-down")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	user = p.MustLogin(t, "user@example.com", password)
	expect(t, user, "me@example.com", "later")
	tb.see("#outcome", "Delivered – user@example.com") // without anything done
	tb.see("#outcomes li", "Delivered")
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	tb.send("user", "to nobody")
	tb.see("#outcome", "No answer from posthorn")
	tb.see("#stream", "no answer")
	tb.shoot("posthorn-down")
	h.start(t)
	h.ready(t)
	tb.hurry()
	tb.see("#stream", "connected")
	tb.press("#write-form button")
	tb.see("#outcome", "Delivered")
	expect(t, user, "me@example.com", "to nobody")
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
}

// testPageWithoutStore: there is nothing to keep, and no tokens; the rest is there.
func testPageWithoutStore(t *testing.T, browser context.Context, p *xmpptest.Server, _ *posthorn) {
	h := startPosthorn(t, p).ready(t)
	tb := signedIn(t, browser, h)
	tb.see("#tokens-said", "no tokens here")
	tb.see("#kept", "there is no store")
	if strings.Contains(tb.text("#tokens"), "Make a token") {
		t.Error("it offers to make tokens")
	}
	tb.send("user", "x")
	tb.see("#outcome", "Delivered")
}
