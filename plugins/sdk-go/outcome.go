package trommel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Outcome is what becomes of an event: Drop, Keep, or what Replace, ReplaceJSON, Edit or Emit return.
type Outcome struct {
	// One of "drop", "keep", "replace", "edit", "emit".
	Action    string
	Payload   []byte
	Changes   []Change
	Emissions []Emission
}

var (
	// Drop: not wanted after all.
	Drop = Outcome{Action: "drop"}
	// Keep sends the event on as it is, and copies nothing.
	Keep = Outcome{Action: "keep"}
)

// Replace sends the event on with this payload.
func Replace(payload []byte) Outcome { return Outcome{Action: "replace", Payload: payload} }

// ReplaceJSON sends the event on with this value as its payload.
func ReplaceJSON(value any) (Outcome, error) {
	payload, err := marshal(value)
	return Replace(payload), err
}

func marshal(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// Change is one change of an event: what Set, Remove or Rename return.
type Change struct {
	Field string
	// The new value: JSON for a part of the payload, else plain text.
	Set    []byte
	Remove bool
	// The new name of a member, which keeps its value and its place.
	Rename string

	err error
}

// Edit sends the event on with these changes, made one after the other. All else stays as it was written.
func Edit(changes ...Change) (Outcome, error) {
	for _, change := range changes {
		if change.err != nil {
			return Drop, fmt.Errorf("`%s` can't be set: %w", change.Field, change.err)
		}
	}
	return Outcome{Action: "edit", Changes: changes}, nil
}

// Set sets a part of the payload ("/total") to a value, written as JSON, or "subject" or "header:NAME" to a text.
func Set(field string, value any) Change {
	if field != "" && !isPart(field) {
		return Change{Field: field, Set: fmt.Append(nil, value)}
	}
	text, err := marshal(value)
	return Change{Field: field, Set: text, err: err}
}

// Remove removes a part of the payload or a header. What is not there stays away.
func Remove(field string) Change { return Change{Field: field, Remove: true} }

// Rename renames a member of the payload: Rename("/customer/mail", "email").
func Rename(field, name string) Change { return Change{Field: field, Rename: name} }

// Header is one header of an event.
type Header struct{ Name, Value string }

// Emission is one output. What is empty is what is usual.
type Emission struct {
	Payload []byte
	// The only sink it goes to, one of the Sinks; all of the route when empty.
	Sink string
	// Outputs of a key with one ID are repeats of each other; the router's own when empty.
	ID string
	// The event's own when empty.
	Subject string
	// Before this time it is not sent.
	NotBefore time.Time
	// Added to the event's; a name that is there already is replaced.
	Headers []Header
	// Names of headers that it does not have.
	RemoveHeaders []string
	// Not sent, but a dead letter with this payload, beside what else comes of the event. Bury makes one.
	Buried *Cause
}

// Cause says why something could not be done.
type Cause struct {
	// A word of your own, lower case with underscores, that `dlq list --reason` finds.
	Code string
	// For people.
	Detail string
}

// Bury is an emission that becomes a dead letter with this payload.
func Bury(payload []byte, code, detail string) Emission {
	return Emission{Payload: payload, Buried: &Cause{code, detail}}
}

// Emit sends these instead, in this order. None at all is Drop.
func Emit(emissions ...Emission) Outcome { return Outcome{Action: "emit", Emissions: emissions} }
