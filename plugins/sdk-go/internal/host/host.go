// Package host is what a filter can call: the router's imports in a component, and stand-ins in `go test`.
package host

// Level is a level of the router's log, from trace to error.
type Level uint8

// Pair is a header, or a field of a line of the log.
type Pair struct{ Name, Value string }

// Request is a call of an API.
type Request struct {
	API, Method, Path string
	Headers           []Pair
	Body              []byte
}

// Response is the answer.
type Response struct {
	Status  uint16
	Headers []Pair
	Body    []byte
}

// Error is one of the API or the state.
type Error struct{ Kind, Text string }
