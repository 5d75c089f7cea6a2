package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// startBrowser runs Debian's Chromium for the length of the test. It finds nothing but
// this machine.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"),
		chromedp.NoSandbox, // which root cannot have
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.UserDataDir(t.TempDir()),
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
	requested  []string // the addresses of what was loaded
	complaints []string // of the browser, such as of what the page may not do
}

// tabPatience bounds what is waited for: far more than it takes.
const tabPatience = 20 * time.Second

func openTab(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(closeTab)
	tb := &tab{t: t, ctx: ctx, url: url}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, tb.hear); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && ctx.Err() == nil {
			t.Logf("the page has:\n%s", tb.text("body"))
			tb.shoot("failed")
		}
	})
	return tb
}

func (tb *tab) hear(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tb.requested = append(tb.requested, e.Request.URL)
	case *cdplog.EventEntryAdded:
		tb.complaints = append(tb.complaints, e.Entry.Text)
	}
}

// do runs what a person does, or fails the test.
func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, tabPatience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// visit opens the page.
func (tb *tab) visit() *tab {
	tb.t.Helper()
	tb.do(chromedp.Navigate(tb.url + "/"))
	return tb
}

// fill types a text into a field, in place of what was there.
func (tb *tab) fill(id, text string) {
	tb.t.Helper()
	tb.do(chromedp.WaitVisible(chromedp.ID(id)), chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.getElementById(%q).select()", id)), chromedp.KeyEvent(text))
}

func (tb *tab) press(selector string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// see waits until an element shows a text.
func (tb *tab) see(selector, text string) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, tabPatience)
	defer cancel()
	expression := fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text)
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression)); err != nil {
		tb.t.Fatalf("%s does not show %q: %v", selector, text, err)
	}
}

// text gives what an element shows.
func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return evaluate[string](tb, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

func evaluate[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, tabPatience)
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return got
}

// signIn signs in, and waits until that is done.
func (tb *tab) signIn(account, word string) {
	tb.t.Helper()
	tb.fill("account", account)
	tb.fill("password", word)
	tb.press("#sign-in-form button")
}

// look sets the size of the window and the scheme of colours.
func (tb *tab) look(width, height int64, scheme string) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2)), chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

// shoot writes a picture of the whole page to tmp/page, for people to look at.
func (tb *tab) shoot(name string) {
	tb.t.Helper()
	picture, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		tb.t.Fatal(err)
	}
	folder := filepath.Join("..", "..", "tmp", "page")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		tb.t.Fatal(err)
	}
	file := strings.NewReplacer("/", "-", " ", "-").Replace(name) + ".png"
	if err := os.WriteFile(filepath.Join(folder, file), picture, 0o644); err != nil {
		tb.t.Fatal(err)
	}
}

// shootAll does so on a desk and a phone, in light and dark.
func (tb *tab) shootAll(name string) {
	tb.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for device, size := range map[string][2]int64{"desk": {1280, 800}, "phone": {390, 844}} {
			tb.look(size[0], size[1], scheme)
			tb.shoot(name + " " + device + " " + scheme)
		}
	}
	tb.look(1280, 800, "light")
}
