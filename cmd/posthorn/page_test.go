package main

import (
	"testing"
)

func TestPage(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	browser := startBrowser(t)
	tb := openTab(t, browser, h.URL).visit()
	tb.see("#sign-in", "Sign in")
	tb.shootAll("sign-in")
	tb.signIn("me@example.com", password)
	tb.see("#who", "me@example.com")
	tb.fill("to", "user")
	tb.fill("body", "Server@host has just crashed!")
	tb.press("#write-form button")
	tb.see("#outcome", "Delivered")
	tb.fill("to", "ghost")
	tb.fill("body", "x")
	tb.press("#write-form button")
	tb.see("#outcome", "Not sent")
	tb.press("#make-token summary")
	tb.fill("token-name", "backup@db1")
	tb.press("#token-form button")
	tb.see("#token-list", "backup@db1")
	tb.shootAll("signed-in")
}
