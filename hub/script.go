package hub

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"time"
)

// script is the client of js/client, built there by npm run build.
//
//go:embed hubbub.js
var script []byte

// Script serves the JavaScript client, an ES module without dependencies, so that
// a page needs neither a bundler nor a copy of it:
//
//	http.Handle("/hubbub.js", hub.Script())
//
//	<script type="module">
//	  import { connect } from '/hubbub.js'
//
// It answers GET and HEAD on every path that it is mounted at. Browsers ask each
// time whether it has changed, so that a page and its server are always of one
// version. For pages of the same origin only; it sets no CORS headers.
func Script() http.Handler {
	sum := sha256.Sum256(script)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the script can only be read", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(script))
	})
}
