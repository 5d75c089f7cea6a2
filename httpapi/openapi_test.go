package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// described is openapi.yaml, read and found to be right by itself.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(loader.Context)
})

// describedPaths are the document's words for the pages.
var describedPaths = map[page]string{
	messagePage: "/msg/{to}", restPage: "/rest/message/{type}/{to}", lookupPage: "/messages/{id}", hookPage: "/hook/{template}/{to}",
	statusPage: "/status", tokensPage: "/tokens", tokenPage: "/tokens/{name}", healthPage: "/healthz", readyPage: "/readyz",
}

// checkDescribed: an answer is one that the document has for its path and method, with
// the headers and the body that it says. A path or a method that is not there has
// none, and has no other answer either.
func checkDescribed(t testing.TB, h *house, method, path string, got answer) {
	t.Helper()
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	if got.status == http.StatusNotFound && strings.Contains(got.body, "no-such-page") || got.status == http.StatusMethodNotAllowed || method == http.MethodOptions {
		return
	}
	target, err := h.route(method, path)
	item := doc.Paths.Find(describedPaths[target.page])
	if item == nil { // the document itself, and pages for people
		return
	}
	operation := item.GetOperation(method)
	if operation == nil || err != nil && got.status != http.StatusBadRequest {
		t.Errorf("openapi.yaml has no %s %s", method, target.page)
		return
	}
	response := operation.Responses.Status(got.status)
	if response == nil {
		t.Errorf("openapi.yaml has no %d for %s %s: %s", got.status, method, target.page, got.body)
		return
	}
	for name, header := range response.Value.Headers {
		if header.Value.Required && got.header.Get(name) == "" {
			t.Errorf("%d for %s %s is without %s", got.status, method, target.page, name)
		}
	}
	if target.page == messagePage && strings.HasPrefix(got.header.Get("Content-Type"), "text/html") { // for people
		return
	}
	checkContent(t, response.Value.Content, method, got)
}

func checkContent(t testing.TB, content openapi3.Content, method string, got answer) {
	t.Helper()
	if got.body == "" {
		if len(content) > 0 && method != http.MethodHead {
			t.Errorf("%d has no body", got.status)
		}
		return
	}
	media := content.Get(got.header.Get("Content-Type"))
	if media == nil {
		t.Errorf("openapi.yaml has no %q for %d: %s", got.header.Get("Content-Type"), got.status, got.body)
		return
	}
	var value any = got.body
	if strings.Contains(got.header.Get("Content-Type"), "json") {
		if err := json.Unmarshal([]byte(got.body), &value); err != nil {
			t.Error(err)
			return
		}
	}
	if err := media.Schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%d %s: %v", got.status, got.body, err)
	}
}

// TestDescribed: each page and each of its methods is in the document, and the page for
// people shows each operation and schema.
func TestDescribed(t *testing.T) {
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(nil)
	docs := h.do(t, call{method: "GET", path: "/docs", header: map[string]string{"Authorization": "-"}})
	if docs.status != 200 || docs.header.Get("Content-Type") != "text/html; charset=utf-8" || docs.header.Get("Content-Security-Policy") == "" {
		t.Fatal(docs.status, docs.header)
	}
	for page, path := range describedPaths {
		item := doc.Paths.Find(path)
		for method := range strings.SplitSeq(page.allow(), ", ") {
			if method == http.MethodOptions {
				continue
			}
			operation := item.GetOperation(method)
			if operation == nil {
				t.Errorf("openapi.yaml has no %s %s", method, path)
				continue
			}
			if !strings.Contains(docs.body, `<h3 id="`+operation.OperationID+`"><code>`+method+" "+path) {
				t.Errorf("/docs has no %s", operation.OperationID)
			}
		}
	}
	for name := range doc.Components.Schemas {
		if !strings.Contains(docs.body, `<h3 id="`+name+`">`) {
			t.Errorf("/docs has no %s", name)
		}
	}
}

// TestOwnPath: the document names the path that messages have.
func TestOwnPath(t *testing.T) {
	for base, want := range map[string]string{"/msg": "/msg/{to}", "/send/xmpp": "/send/xmpp/{to}", "": "/{to}"} {
		h := newHouse(func(o *Options) { o.Path = base })
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.yaml", nil))
		doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
		if err != nil || doc.Paths.Find(want) == nil || w.Header().Get("Content-Type") != "application/yaml" {
			t.Errorf("%q: %v", base, err)
		}
	}
}
