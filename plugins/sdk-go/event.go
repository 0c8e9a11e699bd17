package trommel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Event is one event: the fields that the hook reads.
type Event struct {
	names []string
	// nil for those that are absent.
	values [][]byte
	// What is not named is absent.
	isForTests bool
}

// NewEvent makes an event of fields, for tests; all others are absent. Parts of the payload are JSON: `"gold"` with its
// quotes.
func NewEvent(fields map[string]string) *Event {
	event := &Event{isForTests: true}
	for name, value := range fields {
		event.names = append(event.names, name)
		event.values = append(event.values, []byte(value))
	}
	return event
}

// Get returns a field that the hook reads, by its name: "/customer/tier", "header:region", "payload". It panics when the
// field is not among the reads.
func (e *Event) Get(name string) Value {
	at := slices.Index(e.names, name)
	if at < 0 && e.isForTests {
		return Value{isPart: isPart(name)}
	}
	if at < 0 {
		panic(fmt.Sprintf("trommel: the field `%s` is not read: name it in MatchReads or ProcessReads", name))
	}
	return Value{e.values[at], isPart(name)}
}

// isPart says whether a field is a part of the payload, whose value is JSON.
func isPart(name string) bool { return strings.HasPrefix(name, "/") }

// JSON decodes the payload, which the hook must read. Its error is one that Malformed made.
func (e *Event) JSON(into any) error {
	payload := e.Get("payload").Bytes()
	if !utf8.Valid(payload) {
		return Malformed("the payload is not UTF-8")
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return Malformed("the payload is not what was expected: %w", err)
	}
	return nil
}

// Value is a field of an event. Those of a part of the payload are JSON as it is written there.
type Value struct {
	raw    []byte
	isPart bool
}

// Exists says whether the event has the field. One that is null is there.
func (v Value) Exists() bool { return v.raw != nil }

// IsNull says whether the field is there, and is the JSON null.
func (v Value) IsNull() bool { return v.isPart && string(v.raw) == "null" }

// Bytes returns the value as it is written, nil when it is absent.
func (v Value) Bytes() []byte { return v.raw }

// Text returns a text: the one that a JSON string means. It is false for what is absent, and for JSON that is no string.
func (v Value) Text() (text string, ok bool) {
	if !v.isPart {
		return string(v.raw), v.raw != nil
	}
	if len(v.raw) < 2 || v.raw[0] != '"' {
		return "", false
	}
	if inside := v.raw[1 : len(v.raw)-1]; bytes.IndexByte(inside, '\\') < 0 && utf8.Valid(inside) {
		return string(inside), true
	}
	err := json.Unmarshal(v.raw, &text)
	return text, err == nil
}

// Int returns a whole number of 64 bits, if it is one.
func (v Value) Int() (number int64, ok bool) {
	number, err := strconv.ParseInt(string(v.raw), 10, 64)
	return number, err == nil
}

// Float returns a number, if it is one.
func (v Value) Float() (number float64, ok bool) {
	if len(v.raw) == 0 || (v.raw[0] != '-' && (v.raw[0] < '0' || v.raw[0] > '9')) {
		return 0, false
	}
	number, err := strconv.ParseFloat(string(v.raw), 64)
	return number, err == nil
}

// Bool returns a truth, if it is one.
func (v Value) Bool() (truth, ok bool) {
	truth = string(v.raw) == "true"
	return truth, truth || string(v.raw) == "false"
}

// JSON decodes the value.
func (v Value) JSON(into any) error { return json.Unmarshal(v.raw, into) }
