package trommel

import (
	"fmt"

	"trommel/internal/host"
)

// Level is a level of the router's log.
type Level = host.Level

// The levels of the router's log.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// Field is a field of a line of the log. Its name is lower case with underscores.
type Field = host.Pair

// Log writes to the router's log, under the filter's name.
func Log(level Level, format string, args ...any) { host.Log(level, fmt.Sprintf(format, args...), nil) }

// LogFields writes a message with fields to the router's log.
func LogFields(level Level, message string, fields ...Field) { host.Log(level, message, fields) }

// LogEnabled says whether lines of this level are written anywhere: ask before making a costly one.
func LogEnabled(level Level) bool { return host.LogEnabled(level) }

// Measure adds to a counter, sets a gauge, or is one value of a histogram: one of the manifest's Metrics.
func Measure(metric string, value float64) { host.Measure(metric, value) }

// Annotate adds an attribute to the span of the call, if the event is traced.
func Annotate(name, value string) { host.Annotate(name, value) }

// Request is a call of an API. Base address and credentials stay with the router.
type Request struct {
	// The name of one of the router's APIs; empty for the one without a name.
	API    string
	Method string
	// With its query.
	Path string
	// Added to the router's own.
	Headers []Header
	// None when nil.
	Body []byte
}

// Response is an API's answer, whatever its status.
type Response struct {
	Status  uint16
	Headers []Header
	Body    []byte
}

// APIError says why a call of the API had no answer.
type APIError struct {
	// One of "denied", "budget", "timeout", "failed".
	Kind string
	// What was wrong, if there is more to say.
	Text string
}

func (e *APIError) Error() string {
	if e.Text == "" {
		return "api: " + e.Kind
	}
	return fmt.Sprintf("api: %s: %s", e.Kind, e.Text)
}

// Call calls a configured API. The router has repeated the call where that may help. Its error is an *APIError.
func Call(request Request) (Response, error) {
	asked := host.Request{API: request.API, Method: request.Method, Path: request.Path, Body: request.Body}
	for _, header := range request.Headers {
		asked.Headers = append(asked.Headers, host.Pair(header))
	}
	answer, failed := host.Call(asked)
	if failed != nil {
		return Response{}, &APIError{failed.Kind, failed.Text}
	}
	response := Response{Status: answer.Status, Body: answer.Body}
	for _, header := range answer.Headers {
		response.Headers = append(response.Headers, Header(header))
	}
	return response, nil
}
