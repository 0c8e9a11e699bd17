// The filter of ../README.md in Go.
package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trommel"
)

var modes = strings.Fields("keep drop text emit malformed retry failed broken log state api echo fields trap")

// conformance is what one route needs: its params, parsed.
type conformance struct {
	mode string
	// Empty when there is none.
	threshold string
}

func parse(_ string, params trommel.Params) (*conformance, error) {
	parsed := &conformance{mode: "keep"}
	for name, value := range params {
		switch name {
		case "mode":
			if !slices.Contains(modes, value) {
				return nil, trommel.Malformed("`mode` is not known: `%s`", value)
			}
			parsed.mode = value
		case "threshold":
			number, err := strconv.ParseInt(strings.Trim(value, " "), 10, 64)
			if err != nil {
				return nil, trommel.Malformed("`threshold` is no integer: `%s`", value)
			}
			parsed.threshold = strconv.FormatInt(number, 10)
		default:
			return nil, trommel.Malformed("unknown param `%s`", name)
		}
	}
	return parsed, nil
}

func normalize(key string, params trommel.Params) (trommel.Params, error) {
	parsed, err := parse(key, params)
	if err != nil {
		return nil, err
	}
	normal := trommel.Params{"mode": parsed.mode}
	if parsed.threshold != "" {
		normal["threshold"] = parsed.threshold
	}
	return normal, nil
}

func (c *conformance) conditions() [][]trommel.Condition {
	if c.threshold == "" {
		return nil
	}
	return [][]trommel.Condition{
		{{Field: "/amount", Comparison: trommel.GreaterOrEqual, Value: c.threshold}},
		{{Field: "header:force", Comparison: trommel.Exists}},
	}
}

func (c *conformance) matches(event *trommel.Event) bool {
	switch event.Type {
	case "skip":
		return false
	case "projection":
		return event.ID == "" && event.Subject == "" && event.SourceTime == "" && event.Payload == nil
	}
	return !slices.Contains(event.Headers, trommel.Header{Name: "skip", Value: "yes"})
}

func (c *conformance) process(event *trommel.Event) (trommel.Outcome, error) {
	if slices.Contains([]string{"echo", "fields", "trap"}, c.mode) {
		return do(c.mode, order{}, event)
	}
	// A member of another type counts as absent, so each is decoded by itself.
	var members map[string]json.RawMessage
	if err := event.JSON(&members); err != nil || members == nil {
		return trommel.Drop, trommel.Malformed("the payload is no JSON object")
	}
	var order order
	var action string
	json.Unmarshal(members["text"], &order.text)
	json.Unmarshal(members["path"], &order.path)
	json.Unmarshal(members["n"], &order.n)
	if json.Unmarshal(members["do"], &action) != nil {
		action = c.mode
	}
	return do(action, order, event)
}

// order is what the payload asks for.
type order struct {
	text, path string
	n          int64
}

func do(action string, order order, event *trommel.Event) (trommel.Outcome, error) {
	switch action {
	case "keep":
		return trommel.Keep, nil
	case "drop":
		return trommel.Drop, nil
	case "text":
		return trommel.Replace([]byte(order.text)), nil
	case "emit":
		return trommel.Emit(emissions(order)...), nil
	case "malformed":
		return trommel.Drop, trommel.Malformed("%s", order.text)
	case "retry":
		return trommel.Drop, trommel.Retry(time.Duration(order.n)*time.Millisecond, "%s", order.text)
	case "failed":
		return trommel.Drop, trommel.Failed("%s", order.text)
	case "broken":
		return trommel.Drop, trommel.Broken("%s", order.text)
	case "log":
		trommel.Log(trommel.Info, "%s", order.text)
		return trommel.Keep, nil
	case "state":
		return keep(order)
	case "api":
		answer, err := trommel.Call("POST", order.path, order.text)
		return trommel.Replace([]byte(answer)), err
	case "echo":
		return trommel.Replace(event.Payload), nil
	case "fields":
		return trommel.Replace(fields(event)), nil
	case "trap":
		panic("as it was told")
	}
	return trommel.Drop, trommel.Failed("no such action: `%s`", action)
}

func emissions(order order) []trommel.Emission {
	list := make([]trommel.Emission, max(order.n, 0))
	for i := range list {
		part := strconv.Itoa(i)
		list[i].Payload = []byte(order.text)
		if i%2 == 1 {
			list[i].Subject = "part." + part
		}
		if i > 0 {
			list[i].Headers = []trommel.Header{{Name: "part", Value: part}, {Name: "text", Value: order.text}}
		}
	}
	return list
}

// keep counts, and remembers the text until the next time.
func keep(order order) (trommel.Outcome, error) {
	previous, found, err := trommel.Get("last")
	if err != nil {
		return trommel.Drop, err
	}
	if !found {
		previous = []byte("none")
	}
	sum, err := trommel.Add("sum", order.n, time.Minute)
	if err != nil {
		return trommel.Drop, err
	}
	if order.text == "" {
		err = trommel.Delete("last")
	} else {
		err = trommel.Set("last", []byte(order.text), 0)
	}
	return trommel.Replace(fmt.Appendf(nil, "%d %s", sum, previous)), err
}

func fields(event *trommel.Event) []byte {
	lines := fmt.Appendf(nil, "type=%s\nid=%s\nsubject=%s\ntime=%s\nobserved=%d\nattempt=%d\n",
		event.Type, event.ID, event.Subject, event.SourceTime, event.ObservedAt.UnixMilli(), event.Attempt)
	for _, header := range event.Headers {
		lines = fmt.Appendf(lines, "header %s=%s\n", header.Name, header.Value)
	}
	return fmt.Appendf(lines, "payload=%d bytes\n", len(event.Payload))
}

func init() {
	trommel.Export(trommel.Filter[*conformance]{
		Name:         "conformance",
		Version:      "1.0.0",
		Description:  "The same filter in every language",
		MatchReads:   trommel.Headers,
		ProcessReads: trommel.ID | trommel.Subject | trommel.SourceTime | trommel.Headers | trommel.Payload,
		Capabilities: []string{"api", "state"},
		New:          parse,
		Normalize:    normalize,
		Conditions:   (*conformance).conditions,
		Matches:      (*conformance).matches,
		Process:      (*conformance).process,
	})
}

func main() {}
