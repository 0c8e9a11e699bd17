// Package trommel is for filters of trommel in Go: say with Export what yours is and does.
//
// A hook that is left nil is never called. An error of New refuses the route; one of Process becomes a failure: the one
// that Malformed, Retry, Failed or Broken made, a Failed of an error of the API or the state, and of any other error a
// Malformed with its text, for the next try would end the same way. A panic ends the instance: the event is tried once more
// on a fresh one and is then a dead letter.
package trommel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	export "trommel/internal/wit/export_trommel_filter_filter"
	types "trommel/internal/wit/trommel_filter_types"
	_ "trommel/internal/wit/wit_exports"
)

// Fields are the parts of an event that cost something to hand over. What a filter does not ask for is empty.
type Fields = uint8

const (
	ID         = types.FieldsId
	Subject    = types.FieldsSubject
	SourceTime = types.FieldsSourceTime
	Headers    = types.FieldsHeaders
	Payload    = types.FieldsPayload
)

// Params are the values of a route's params, by name.
type Params map[string]string

// Filter says what a filter is and does. S is what one route needs, made of its params by New.
type Filter[S any] struct {
	Name, Version, Description string
	// What Matches and Process read.
	MatchReads, ProcessReads Fields
	// Wishes, not grants: "api", "state".
	Capabilities []string

	// New parses the params of one route, and no more: it is called in every instance.
	New func(key string, params Params) (S, error)
	// Normalize returns the params to use from then on; by default those that New takes, as they are.
	Normalize func(key string, params Params) (Params, error)
	// Conditions is match as data: any list, all of its conditions.
	Conditions func(S) [][]Condition
	// Matches is pure: it can call nothing.
	Matches func(S, *Event) bool
	// Process may call what was granted.
	Process func(S, *Event) (Outcome, error)
}

// Event is one event. What is absent is empty.
type Event struct {
	Type, ID, Subject, SourceTime string
	// When the router saw it.
	ObservedAt time.Time
	// 1 on the first delivery.
	Attempt uint32
	Headers []Header
	Payload []byte
}

type Header struct{ Name, Value string }

// Header returns the first value under a name, whatever its case.
func (e *Event) Header(name string) (value string, ok bool) {
	for _, header := range e.Headers {
		if strings.EqualFold(header.Name, name) {
			return header.Value, true
		}
	}
	return "", false
}

// JSON decodes the payload. Its error is one that Malformed made.
func (e *Event) JSON(value any) error {
	if !utf8.Valid(e.Payload) {
		return Malformed("the payload is not UTF-8")
	}
	if err := json.Unmarshal(e.Payload, value); err != nil {
		return Malformed("the payload is not what was expected: %v", err)
	}
	return nil
}

// Condition is one test on an event. A field that is not there fails every test.
type Condition = types.Condition

const (
	Exists         = types.ComparisonExists
	Equals         = types.ComparisonEquals
	NotEquals      = types.ComparisonNotEquals
	Less           = types.ComparisonLess
	LessOrEqual    = types.ComparisonLessOrEqual
	Greater        = types.ComparisonGreater
	GreaterOrEqual = types.ComparisonGreaterOrEqual
	StartsWith     = types.ComparisonStartsWith
	Contains       = types.ComparisonContains
)

// Outcome is what becomes of an event: Drop, Keep, Replace, ReplaceJSON or Emit.
type Outcome struct{ outcome types.Outcome }

var (
	// Drop: not wanted after all.
	Drop = Outcome{types.MakeOutcomeDrop()}
	// Keep sends the event on as it is, and copies nothing.
	Keep = Outcome{types.MakeOutcomeKeep()}
)

// Replace sends the event on with this payload.
func Replace(payload []byte) Outcome { return Outcome{types.MakeOutcomeReplace(payload)} }

// ReplaceJSON sends the event on with this value as its payload.
func ReplaceJSON(value any) (Outcome, error) {
	var payload bytes.Buffer
	encoder := json.NewEncoder(&payload)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return Replace(bytes.TrimSuffix(payload.Bytes(), []byte("\n"))), err
}

// Emission is one output. An empty Subject is the event's own; Headers are added to the event's.
type Emission struct {
	Payload []byte
	Subject string
	Headers []Header
}

// Emit sends these instead, in this order. None at all is Drop.
func Emit(emissions ...Emission) Outcome {
	list := make([]types.Emission, len(emissions))
	for i, emission := range emissions {
		list[i] = types.Emission{Payload: emission.Payload, Subject: witTypes.None[string]()}
		if emission.Subject != "" {
			list[i].Subject = witTypes.Some(emission.Subject)
		}
		for _, header := range emission.Headers {
			list[i].Headers = append(list[i].Headers, pair{F0: header.Name, F1: header.Value})
		}
	}
	return Outcome{types.MakeOutcomeEmit(list)}
}

// Failure is an error that says what becomes of the event.
type Failure struct {
	make func(text string) types.Failure
	text string
}

func (f *Failure) Error() string { return f.text }

// Malformed: the event can never be processed. It goes straight to the dead letters.
func Malformed(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &Failure{types.MakeFailureMalformed, text}
}

// Retry: passing trouble. The event is tried again after this time.
func Retry(after time.Duration, format string, args ...any) error {
	retry := func(text string) types.Failure {
		return types.MakeFailureRetry(witTypes.Tuple2[uint32, string]{F0: uint32(after.Milliseconds()), F1: text})
	}
	return &Failure{retry, fmt.Sprintf(format, args...)}
}

// Failed: the event is tried again by the key's policy, then becomes a dead letter.
func Failed(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &Failure{types.MakeFailureFailed, text}
}

// Broken: the filter itself can't go on. It is quarantined, the event is kept.
func Broken(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &Failure{types.MakeFailureBroken, text}
}

// failure is what the router is told of an error. What the API or the state answered may be another thing with the next
// try; answer makes a failure of that.
func failure(err error, answer func(string) types.Failure) types.Failure {
	var known *Failure
	var api *APIError
	var state *StateError
	switch {
	case errors.As(err, &known):
		return known.make(err.Error())
	case errors.As(err, &api), errors.As(err, &state):
		return answer(err.Error())
	default:
		return types.MakeFailureMalformed(err.Error())
	}
}

// Export says what the filter is. Call it once, from init.
func Export[S any](filter Filter[S]) {
	normalize := filter.Normalize
	if normalize == nil {
		normalize = func(key string, params Params) (Params, error) {
			_, err := filter.New(key, params)
			return params, err
		}
	}
	export.Hooks.Describe = filter.manifest
	export.Hooks.NormalizeParams = func(key string, list types.Params) witTypes.Result[types.Params, types.Failure] {
		params, err := normalize(key, fromPairs(list))
		if err != nil {
			return witTypes.Err[types.Params](failure(err, types.MakeFailureMalformed))
		}
		return witTypes.Ok[types.Params, types.Failure](toPairs(params))
	}
	export.Hooks.Subscribe = func(key string, params types.Params) export.Subscriber {
		state, err := filter.New(key, fromPairs(params))
		return &subscription[S]{&filter, state, err}
	}
}

func (f *Filter[S]) manifest() types.Manifest {
	hooks := types.HooksNormalizeParams
	if f.Conditions != nil {
		hooks |= types.HooksConditions
	}
	if f.Matches != nil {
		hooks |= types.HooksMatches
	}
	if f.Process != nil {
		hooks |= types.HooksProcess
	}
	return types.Manifest{
		Name: f.Name, Version: f.Version, Description: f.Description, Hooks: hooks,
		MatchReads: f.MatchReads, ProcessReads: f.ProcessReads, Capabilities: f.Capabilities,
	}
}

type subscription[S any] struct {
	filter *Filter[S]
	state  S
	// Params that New refused never come here, for Normalize refused them. Should they, nothing goes out unseen.
	err error
}

func (s *subscription[S]) Conditions() [][]Condition {
	if s.err != nil {
		return nil
	}
	return s.filter.Conditions(s.state)
}

func (s *subscription[S]) Matches(event types.Event) bool {
	defer collect(len(event.Payload.SomeOr(nil)))
	return s.err != nil || s.filter.Matches(s.state, view(event))
}

func (s *subscription[S]) Process(event types.Event) witTypes.Result[types.Outcome, types.Failure] {
	if s.err != nil {
		return witTypes.Err[types.Outcome](types.MakeFailureBroken(s.err.Error()))
	}
	defer collect(len(event.Payload.SomeOr(nil)))
	outcome, err := s.filter.Process(s.state, view(event))
	if err != nil {
		return witTypes.Err[types.Outcome](failure(err, types.MakeFailureFailed))
	}
	return witTypes.Ok[types.Outcome, types.Failure](outcome.outcome)
}

func view(event types.Event) *Event {
	seen := &Event{
		Type: event.EventType, ID: event.Id.SomeOr(""), Subject: event.Subject.SomeOr(""),
		SourceTime: event.SourceTime.SomeOr(""), ObservedAt: time.Unix(0, int64(event.ObservedAt)),
		Attempt: event.Attempt, Payload: event.Payload.SomeOr(nil),
	}
	for _, header := range event.Headers.SomeOr(nil) {
		seen.Headers = append(seen.Headers, Header{header.F0, header.F1})
	}
	return seen
}

type pair = witTypes.Tuple2[string, string]

func fromPairs(list types.Params) Params {
	params := make(Params, len(list))
	for _, pair := range list {
		params[pair.F0] = pair.F1
	}
	return params
}

func toPairs(params Params) types.Params {
	list := make(types.Params, 0, len(params))
	for name, value := range params {
		list = append(list, pair{F0: name, F1: value})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].F0 < list[j].F0 })
	return list
}
