package transport

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// Refusal is an answer before the upgrade: plain HTTP with a JSON body.
type Refusal struct {
	Status     int           // HTTP status
	Code       string        // stable, for programs: "origin", "draining", …
	Message    string        // what was wrong and what to do, for people
	RetryAfter time.Duration // 0: not said; rounded up to seconds
}

// Error implements error.
func (r *Refusal) Error() string { return "transport: refused: " + r.Message }

// Refuse answers a request with err: with a *Refusal as it says, otherwise with
// a 500 that does not tell the cause. The connection is not reused: a client
// that announced a body which never comes would hold up the answer.
func Refuse(w http.ResponseWriter, err error) {
	var r *Refusal
	if !errors.As(err, &r) {
		r = &Refusal{Status: http.StatusInternalServerError, Code: "internal", Message: "internal error"}
	}
	// net/http reads such a body even after the answer; not for ever.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerWait))
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.RetryAfter.Seconds()))))
	}
	if r.Status == http.StatusUpgradeRequired {
		h.Set("Sec-WebSocket-Version", "13")
	}
	body, _ := json.Marshal(map[string]string{"code": r.Code, "message": r.Message}, json.Deterministic(true))
	w.WriteHeader(r.Status)
	_, _ = w.Write(append(body, '\n'))
}
