package trommel

import (
	"errors"
	"fmt"
	"time"

	"trommel/state"
)

// Failure is an error that says what becomes of the event.
type Failure struct {
	// One of "malformed", "retry", "failed", "defer", "broken".
	Kind string
	// A word of your own, lower case with underscores, that `dlq list --reason` finds.
	Code string
	// Of "retry" and "defer".
	After time.Duration

	cause error
}

func (f *Failure) Error() string { return f.cause.Error() }

func (f *Failure) Unwrap() error { return f.cause }

// WithCode gives the failure a word of your own: Malformed("no rate for %s", day).WithCode("no_rate").
func (f *Failure) WithCode(code string) *Failure {
	f.Code = code
	return f
}

// Malformed: the event can never be processed. It goes straight to the dead letters.
func Malformed(format string, args ...any) *Failure {
	return &Failure{Kind: "malformed", cause: fmt.Errorf(format, args...)}
}

// Retry: passing trouble. The event is tried again after this time.
func Retry(after time.Duration, format string, args ...any) *Failure {
	return &Failure{Kind: "retry", After: after, cause: fmt.Errorf(format, args...)}
}

// Failed: the event is tried again by the key's policy, then becomes a dead letter.
func Failed(format string, args ...any) *Failure {
	return &Failure{Kind: "failed", cause: fmt.Errorf(format, args...)}
}

// Defer: no failure, the event's time has not come. It is asked about again after this time, as often as need be.
func Defer(after time.Duration, format string, args ...any) *Failure {
	return &Failure{Kind: "defer", After: after, cause: fmt.Errorf(format, args...)}
}

// Broken: the filter itself can't go on. It is quarantined, the event is kept.
func Broken(format string, args ...any) *Failure {
	return &Failure{Kind: "broken", cause: fmt.Errorf(format, args...)}
}

// failure is what the router is told of an error, with the text of all that wraps it. What the API or the state answered
// may be another thing with the next try; answer is the kind of that.
func failure(err error, answer string) Failure {
	var known *Failure
	var api *APIError
	var state *state.Error
	switch {
	case errors.As(err, &known):
		return Failure{known.Kind, known.Code, known.After, err}
	case errors.As(err, &api), errors.As(err, &state):
		return Failure{Kind: answer, cause: err}
	default:
		return Failure{Kind: "malformed", cause: err}
	}
}
