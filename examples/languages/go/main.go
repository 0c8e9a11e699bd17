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
	"trommel/state"
)

var modes = strings.Fields("keep drop text emit malformed retry failed broken log state api echo fields trap edit outputs coded defer swap many measure")

// conformance is what one route needs: its params, parsed.
type conformance struct {
	mode string
	// Empty when there is none.
	threshold string
	// Fields that process reads beside the payload; the param as it was given.
	reads []string
	given string
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
		case "reads":
			parsed.reads, parsed.given = strings.Fields(value), value
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
	if parsed.given != "" {
		normal["reads"] = parsed.given
	}
	return normal, nil
}

func (c *conformance) interest(interest *trommel.Interest) {
	if c.threshold != "" {
		interest.Condition = "/amount >= " + c.threshold + " || header:force"
	}
	interest.ProcessReads = append([]string{"payload"}, c.reads...)
}

func (c *conformance) matches(event *trommel.Event) bool {
	eventType, _ := event.Get("event-type").Text()
	skip, _ := event.Get("header:skip").Text()
	return eventType != "skip" && skip != "yes"
}

func (c *conformance) process(event *trommel.Event) (trommel.Outcome, error) {
	if slices.Contains([]string{"echo", "fields", "trap"}, c.mode) {
		return c.do(c.mode, order{}, event)
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
	return c.do(action, order, event)
}

// order is what the payload asks for.
type order struct {
	text, path string
	n          int64
}

func (c *conformance) do(action string, order order, event *trommel.Event) (trommel.Outcome, error) {
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
		return call(order)
	case "echo":
		return trommel.Replace(event.Get("payload").Bytes()), nil
	case "fields":
		return trommel.Replace(c.fields(event)), nil
	case "edit":
		return edit(order)
	case "outputs":
		return outputs(order), nil
	case "coded":
		return trommel.Drop, fmt.Errorf("%w", trommel.Malformed("%s", order.text).WithCode("own_code"))
	case "defer":
		return trommel.Drop, trommel.Defer(time.Duration(order.n)*time.Millisecond, "%s", order.text)
	case "swap":
		return swap(order)
	case "many":
		return many(order)
	case "measure":
		trommel.Measure("calls", float64(order.n))
		trommel.Annotate("text", order.text)
		return trommel.Keep, nil
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

func edit(order order) (trommel.Outcome, error) {
	changes := []trommel.Change{
		trommel.Set("/text", order.text),
		trommel.Set("/n", order.n),
		trommel.Remove("/gone"),
		trommel.Rename("/old", "new"),
	}
	if order.path != "" {
		changes = append(changes,
			trommel.Set("subject", order.path), trommel.Set("header:text", order.text), trommel.Remove("header:gone"))
	}
	return trommel.Edit(changes...)
}

func outputs(order order) trommel.Outcome {
	text := []byte(order.text)
	return trommel.Emit(
		trommel.Emission{Payload: text, Sink: "a", ID: order.path},
		trommel.Emission{
			Payload: text, RemoveHeaders: []string{"gone"}, Headers: []trommel.Header{{Name: "text", Value: order.text}},
		},
		trommel.Bury(text, "no_use", order.text),
	)
}

func orNone(value []byte) []byte {
	if value == nil {
		return []byte("none")
	}
	return value
}

// keep counts, and remembers the text until the next time.
func keep(order order) (trommel.Outcome, error) {
	previous, err := state.Get("last")
	if err != nil {
		return trommel.Drop, err
	}
	sum, err := state.Increment("sum", order.n, time.Minute)
	if err != nil {
		return trommel.Drop, err
	}
	if order.text == "" {
		err = state.Delete("last")
	} else {
		err = state.Set("last", []byte(order.text), 0)
	}
	return trommel.Replace(fmt.Appendf(nil, "%d %s", sum, orNone(previous))), err
}

func swap(order order) (trommel.Outcome, error) {
	var old []byte
	if order.path != "" {
		old = []byte(order.path)
	}
	if err := state.Swap("swapped", old, []byte(order.text), 0); err != nil {
		return trommel.Drop, err
	}
	keys, err := state.Keys("swap")
	if err != nil {
		return trommel.Drop, err
	}
	values, err := state.GetMany("swapped", "other")
	if err != nil {
		return trommel.Drop, err
	}
	answer := fmt.Appendf(nil, "%s %s %s", strings.Join(keys, ","), orNone(values[0]), orNone(values[1]))
	return trommel.Replace(answer), nil
}

func many(order order) (trommel.Outcome, error) {
	err := state.SetMany(map[string][]byte{"many/1": []byte(order.text), "many/2": []byte(order.path)}, 0)
	if err != nil {
		return trommel.Drop, err
	}
	if err := state.DeleteMany("many/2", "many/3"); err != nil {
		return trommel.Drop, err
	}
	keys, err := state.Keys("many")
	if err != nil {
		return trommel.Drop, err
	}
	values, err := state.GetMany("many/1", "many/2")
	if err != nil {
		return trommel.Drop, err
	}
	answer := fmt.Appendf(nil, "%s %s %s", strings.Join(keys, ","), orNone(values[0]), orNone(values[1]))
	return trommel.Replace(answer), nil
}

func call(order order) (trommel.Outcome, error) {
	request := trommel.Request{
		Method: "POST", Path: order.path, Headers: []trommel.Header{{Name: "x-text", Value: "1"}},
	}
	if order.text != "" {
		request.Body = []byte(order.text)
	}
	response, err := trommel.Call(request)
	if err != nil {
		return trommel.Drop, err
	}
	if response.Status >= 400 {
		return trommel.Drop, trommel.Failed("api: status %d: %s", response.Status, response.Body)
	}
	return trommel.Replace(response.Body), nil
}

func (c *conformance) fields(event *trommel.Event) []byte {
	var lines []byte
	for _, name := range c.reads {
		value := event.Get(name)
		lines = append(lines, name...)
		if value.Exists() {
			lines = append(append(lines, '='), value.Bytes()...)
		}
		lines = append(lines, '\n')
	}
	return lines
}

func init() {
	trommel.Export(trommel.Filter[*conformance]{
		Manifest: trommel.Manifest{
			Name:        "conformance",
			Version:     "1.0.0",
			Description: "The same filter in every language",
			Grants: []trommel.Grant{
				{Name: "api", Reason: "posts what the payload says"},
				{Name: "state", Reason: "counts, and remembers the last text"},
			},
			Metrics: []trommel.Metric{{Name: "calls", Kind: "counter", Description: "what the payload says"}},
		},
		MatchReads: []string{"event-type", "header:skip"},
		Sinks:      []string{"a"},
		New:        parse,
		Normalize:  normalize,
		Interest:   (*conformance).interest,
		Matches:    (*conformance).matches,
		Process:    (*conformance).process,
	})
}

func main() {}
