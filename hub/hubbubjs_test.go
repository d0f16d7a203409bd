package hub_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hubbub-go/hubbub/hub"
)

func askScript(method, etag string) *http.Response {
	r := httptest.NewRequest(method, "/hubbub.js", nil)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	hub.Script().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestScriptIsAModule(t *testing.T) {
	resp := askScript(http.MethodGet, "")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for name, want := range map[string]string{
		"Content-Type":                "text/javascript; charset=utf-8",
		"X-Content-Type-Options":      "nosniff",
		"Cache-Control":               "no-cache",
		"Access-Control-Allow-Origin": "",
		"Last-Modified":               "",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	code := body(t, resp)
	for _, part := range []string{"export{", "as connect", "as HubbubError", "hubbub.v1"} {
		if !bytes.Contains(code, []byte(part)) {
			t.Errorf("the script has no %s", part)
		}
	}
	for _, part := range []string{"import ", "sourceMappingURL", "</script"} {
		if bytes.Contains(code, []byte(part)) {
			t.Errorf("the script has a %s", part)
		}
	}
}

func TestScriptIsReadAgainOnlyAfterAChange(t *testing.T) {
	etag := askScript(http.MethodHead, "").Header.Get("ETag")
	if etag == "" || etag != askScript(http.MethodGet, "").Header.Get("ETag") {
		t.Fatalf("ETag %q", etag)
	}
	same := askScript(http.MethodGet, etag)
	if code := body(t, same); same.StatusCode != http.StatusNotModified || len(code) > 0 {
		t.Fatalf("%s with %d bytes", same.Status, len(code))
	}
	if other := askScript(http.MethodGet, `"other"`); other.StatusCode != http.StatusOK || len(body(t, other)) == 0 {
		t.Fatal(other.Status)
	}
}

func TestScriptCanOnlyBeRead(t *testing.T) {
	head := askScript(http.MethodHead, "")
	if head.StatusCode != http.StatusOK || len(body(t, head)) > 0 {
		t.Fatal(head.Status)
	}
	post := askScript(http.MethodPost, "")
	if post.StatusCode != http.StatusMethodNotAllowed || post.Header.Get("Allow") != "GET, HEAD" {
		t.Fatal(post.Status, post.Header)
	}
}
