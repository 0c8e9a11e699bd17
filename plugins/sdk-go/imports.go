package trommel

import (
	"fmt"
	"time"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	api "trommel/internal/wit/trommel_filter_api"
	log "trommel/internal/wit/trommel_filter_log"
	state "trommel/internal/wit/trommel_filter_state"
)

// The levels of the router's log.
const (
	Trace = log.LevelTrace
	Debug = log.LevelDebug
	Info  = log.LevelInfo
	Warn  = log.LevelWarn
	Error = log.LevelError
)

// Log writes to the router's log, under the filter's name.
func Log(level log.Level, format string, args ...any) { log.Write(level, fmt.Sprintf(format, args...)) }

// APIError says why a call of the API had no success.
type APIError struct {
	// One of "denied", "budget", "timeout", "status", "failed".
	Kind string
	// Of an answer that is no success; else 0.
	Status uint16
	// The answer's body, or what was wrong.
	Text string
}

func (e *APIError) Error() string {
	switch {
	case e.Kind == "status":
		return fmt.Sprintf("api: status %d: %s", e.Status, e.Text)
	case e.Text == "":
		return "api: " + e.Kind
	}
	return fmt.Sprintf("api: %s: %s", e.Kind, e.Text)
}

// Call calls the configured API and returns its answer. An empty body is none. Its error is an *APIError.
func Call(method, path, body string) (string, error) {
	option := witTypes.None[string]()
	if body != "" {
		option = witTypes.Some(body)
	}
	result := api.Call(method, path, option)
	if result.Tag() == witTypes.ResultOk {
		return result.Ok(), nil
	}
	switch err := result.Err(); err.Tag() {
	case api.ApiErrorDenied:
		return "", &APIError{Kind: "denied", Text: err.Denied()}
	case api.ApiErrorBudget:
		return "", &APIError{Kind: "budget"}
	case api.ApiErrorTimeout:
		return "", &APIError{Kind: "timeout"}
	case api.ApiErrorStatus:
		return "", &APIError{Kind: "status", Status: err.Status().F0, Text: err.Status().F1}
	default:
		return "", &APIError{Kind: "failed", Text: err.Failed()}
	}
}

// Get returns what is kept under a key, and whether there is anything.
func Get(key string) ([]byte, bool, error) {
	result := state.Get(key)
	if result.Tag() == witTypes.ResultErr {
		return nil, false, stateError(result.Err())
	}
	value := result.Ok()
	if value.Tag() == witTypes.OptionNone {
		return nil, false, nil
	}
	return value.Some(), true, nil
}

// Set keeps a value, for this long; 0 is for good.
func Set(key string, value []byte, ttl time.Duration) error {
	return done(state.Set(key, value, millis(ttl)))
}

// Delete forgets what is kept under a key.
func Delete(key string) error { return done(state.Delete(key)) }

// Add adds to the number that is kept under a key, 0 when absent, and returns the sum. A ttl of 0 keeps what it has.
func Add(key string, delta int64, ttl time.Duration) (int64, error) {
	result := state.Add(key, delta, millis(ttl))
	if result.Tag() == witTypes.ResultErr {
		return 0, stateError(result.Err())
	}
	return result.Ok(), nil
}

func millis(ttl time.Duration) witTypes.Option[uint64] {
	if ttl == 0 {
		return witTypes.None[uint64]()
	}
	return witTypes.Some(uint64(ttl.Milliseconds()))
}

func done(result witTypes.Result[witTypes.Unit, state.StateError]) error {
	if result.Tag() == witTypes.ResultErr {
		return stateError(result.Err())
	}
	return nil
}

// StateError says why the state did not do as it was told.
type StateError struct {
	// One of "denied", "too-large", "conflict", "unavailable".
	Kind string
	// What was wrong, if there is more to say.
	Text string
}

func (e *StateError) Error() string {
	if e.Text == "" {
		return "state: " + e.Kind
	}
	return fmt.Sprintf("state: %s: %s", e.Kind, e.Text)
}

func stateError(err state.StateError) error {
	switch err.Tag() {
	case state.StateErrorDenied:
		return &StateError{Kind: "denied"}
	case state.StateErrorTooLarge:
		return &StateError{Kind: "too-large"}
	case state.StateErrorConflict:
		return &StateError{Kind: "conflict"}
	default:
		return &StateError{Kind: "unavailable", Text: err.Unavailable()}
	}
}
