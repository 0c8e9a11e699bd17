package trommel

import (
	"encoding/json"
	"time"
)

// Manifest is what a filter says of itself, to the router and to those who run it.
type Manifest struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description"`
	// Interval is the time between two ticks.
	Interval time.Duration `json:"-"`
	// What the key has to declare.
	Params []Param `json:"params,omitempty"`
	// Wishes, not grants.
	Grants []Grant `json:"grants,omitempty"`
	// The endpoints that it calls: "GET /users/*".
	API []string `json:"api,omitempty"`
	// The memory that an instance needs: "256MiB".
	Memory string `json:"memory,omitempty"`
	// The JSON Schema of its outputs.
	OutputSchema json.RawMessage `json:"output_schema,omitempty"`
	Metrics      []Metric        `json:"metrics,omitempty"`
}

// Param is one that the key declares as [[key.params]].
type Param struct {
	Name string `json:"name"`
	// "string" when empty.
	Type        string   `json:"type,omitempty"`
	Description string   `json:"description,omitempty"`
	Required    bool     `json:"required,omitempty"`
	Default     string   `json:"default,omitempty"`
	Values      []string `json:"values,omitempty"`
}

// Grant is a wish for "api", "state" or "identity", with its reason.
type Grant struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Metric is what Measure measures: a "counter", a "gauge" or a "histogram".
type Metric struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	Description string `json:"description"`
}

// describe returns what writes the manifest. It is written when it is asked for, so that mistakes are in a log.
func (f *Filter[S]) describe() func() string {
	written := struct {
		Manifest
		Hooks    []string `json:"hooks"`
		Interval string   `json:"interval,omitempty"`
	}{Manifest: f.Manifest, Hooks: []string{"normalize-params"}}
	if f.Matches != nil {
		written.Hooks = append(written.Hooks, "matches", "matches-batch")
	}
	if f.Process != nil {
		written.Hooks = append(written.Hooks, "process", "process-batch")
	}
	if f.Tick != nil {
		written.Hooks = append(written.Hooks, "tick")
		written.Interval = f.Interval.String()
	}
	return func() string {
		text, err := json.Marshal(written)
		if err != nil {
			panic("trommel: the manifest: " + err.Error())
		}
		return string(text)
	}
}
