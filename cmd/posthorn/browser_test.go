package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"posthorn/internal/xmpptest"
)

// startBrowser runs Debian's Chromium for the length of the test. It finds nothing but
// this machine.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"),
		chromedp.NoSandbox, // which root cannot have
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("lang", "en-US"),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	browser, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(closeBrowser)
	if err := chromedp.Do(browser); err != nil {
		t.Fatal("Chromium: ", err)
	}
	return browser
}

// A tab shows a posthorn's page, in a browser that knows nothing of the other tabs.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu         sync.Mutex
	requested  []string // the addresses of what was asked for
	complaints []string // of the browser: what the page may not do, and what broke
	dialogs    int      // in which the browser asked for a password
	answer     *fetch.AuthChallengeResponse
}

// tabPatience bounds what is waited for: far more than it takes.
const tabPatience = 20 * time.Second

// openTab opens the page in a tab of its own.
func openTab(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(closeTab)
	tb := &tab{t: t, ctx: ctx, url: url, answer: &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}}
	if err := chromedp.Do(ctx); err != nil { // with a timeout, the tab would end with it
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, tb.hear); err != nil {
		t.Fatal(err)
	}
	yes := true
	tell(tb, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &yes})
	t.Cleanup(tb.check)
	tb.visit()
	return tb
}

// check is true of everything that the page does.
func (tb *tab) check() {
	if tb.t.Failed() {
		shown, _ := chromedp.Run(tb.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		tb.t.Logf("the page shows:\n%s", shown)
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, address := range tb.requested {
		if !strings.HasPrefix(address, tb.url+"/") || strings.Contains(address, password) {
			tb.t.Errorf("the page asked for %s", address)
		}
	}
	for _, c := range tb.complaints {
		tb.t.Errorf("the browser complains: %s", c)
	}
}

// hear takes the browser's events, which it must not hold up.
func (tb *tab) hear(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Request.URL != "about:blank" {
			tb.requested = append(tb.requested, e.Request.URL)
		}
	case *cdplog.EventEntryAdded: // that an answer was no success is one too, and is no matter
		if e.Entry.Source != cdplog.EntrySourceNetwork {
			tb.complaints = append(tb.complaints, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		tb.complaints = append(tb.complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case *fetch.EventRequestPaused:
		go func() {
			_, _ = chromedp.Call(tb.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
		}()
	case *fetch.EventAuthRequired:
		tb.dialogs++
		answer := tb.answer
		go func() {
			_, _ = chromedp.Call(tb.ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: answer})
		}()
	}
}

// asked gives how often the browser itself has asked for a password.
func (tb *tab) asked() int {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.dialogs
}

// answers says what is typed when the browser itself asks.
func (tb *tab) answers(account, word string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.answer = &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: account, Password: word}
}

// do does what a person does, or fails the test.
func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, tabPatience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// tell sends the browser a command.
func tell[P, R any](tb *tab, c cdp.Command[P, R], params P) R {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, tabPatience)
	defer cancel()
	result, err := chromedp.Call(ctx, c, params)
	if err != nil {
		tb.t.Fatal(err)
	}
	return result
}

// evaluate gives what an expression is on the page.
func evaluate[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, tabPatience)
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatalf("%.200s: %v", expression, err)
	}
	return got
}

func (tb *tab) visit() {
	tb.t.Helper()
	tb.do(chromedp.Navigate(tb.url + "/"))
}

// fill types a text into a field, in place of what was there.
func (tb *tab) fill(id, text string) {
	tb.t.Helper()
	tb.do(chromedp.WaitVisible(chromedp.ID(id)), chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.getElementById(%q).select()", id)), chromedp.KeyEvent(text))
}

// press clicks on the first element that the selector finds.
func (tb *tab) press(selector string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// see waits until an element shows a text. The page may be another one by then.
func (tb *tab) see(selector, text string) {
	tb.t.Helper()
	shown := fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector)
	xmpptest.Wait(tb.t, tabPatience, fmt.Sprintf("%s shows %q", selector, text), func() bool {
		got, err := chromedp.Run(tb.ctx, chromedp.Evaluate[string](shown))
		return err == nil && strings.Contains(got, text)
	})
}

// text gives what an element shows.
func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return evaluate[string](tb, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

func (tb *tab) signIn(account, word string) {
	tb.t.Helper()
	tb.fill("account", account)
	tb.fill("password", word)
	tb.press("#sign-in-form button")
}

func (tb *tab) send(to, body string) {
	tb.t.Helper()
	tb.fill("to", to)
	tb.fill("body", body)
	tb.press("#write-form button")
}

// hurry lets the page look how posthorn is, as it does when somebody comes back to it.
func (tb *tab) hurry() {
	tb.t.Helper()
	tb.do(chromedp.Evaluate[chromedp.Void]("document.dispatchEvent(new Event('visibilitychange'))"))
}

// A view is how somebody looks at the page.
type view struct {
	name          string
	width, height int64
	scheme        string // of colours
}

var views = []view{
	{"desk light", 1280, 800, "light"}, {"desk dark", 1280, 800, "dark"},
	{"phone light", 390, 844, "light"}, {"phone dark", 390, 844, "dark"},
}

func (tb *tab) look(v view) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(v.width, v.height))
	tell(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: v.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// shoot takes pictures of the page, for people to look at, in tmp/page, and looks at what
// a program can see: that all can be read, and nothing stands beside the page.
func (tb *tab) shoot(name string) {
	tb.t.Helper()
	for _, v := range append(slices.Clone(views), view{"narrow", 320, 640, "light"}) {
		tb.look(v)
		picture, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			tb.t.Fatal(err)
		}
		writePicture(tb.t, name+" "+v.name, picture)
		for _, line := range evaluate[[]string](tb, contrast(tb.t)) {
			tb.t.Errorf("%s, %s: too faint: %s", name, v.name, line)
		}
		if wide := evaluate[int64](tb, "document.documentElement.scrollWidth"); wide > v.width {
			tb.t.Errorf("%s, %s: the page is %d wide", name, v.name, wide)
		}
	}
	tb.look(views[0])
}

func writePicture(t *testing.T, name string, picture []byte) {
	t.Helper()
	folder := filepath.Join("..", "..", "tmp", "page")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, strings.ReplaceAll(name, " ", "-")+".png")
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

func contrast(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/page/contrast.js")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
