// Package trommel is for filters of trommel in Go: say with Export what yours is and does.
//
// A hook that is left nil is never called. An error of New refuses the route; one of Process becomes a failure: the one
// that Malformed, Retry, Failed, Defer or Broken made, a Failed of an error of the API or the state, and of any other error
// a Malformed with its text, for the next try would end the same way. An error that wraps one of these by %w is of its kind
// and has the whole text. A panic ends the instance: the event is tried once more on a fresh one and is then a dead letter.
//
// In `go test` filters run as they are: state is a map, the log goes to standard error, and the API can't be called.
package trommel

import "time"

// Params are the values of a route's params, by name.
type Params map[string]string

// Filter says what a filter is and does. S is what one route needs, made of its params by New.
type Filter[S any] struct {
	Manifest
	// The fields that Matches and Process read, by name: "/customer/tier", "header:region", "subject", "payload". Reads
	// lists those of a struct.
	MatchReads, ProcessReads []string
	// The sinks that emissions choose by name.
	Sinks []string

	// New parses the params of one route, and no more: it is called in every instance.
	New func(key string, params Params) (S, error)
	// Normalize returns the params to use from then on; by default those that New takes, as they are.
	Normalize func(key string, params Params) (Params, error)
	// Interest changes for one route, by its params, what is read of which events.
	Interest func(S, *Interest)
	// Matches is pure: it can call nothing but the log.
	Matches func(S, *Event) bool
	// Process may call what was granted.
	Process func(S, *Event) (Outcome, error)
	// Tick is called once an Interval, whether events come or not, by one router of those that share a state, and only
	// when all outputs of the tick before have arrived: what those were made of is safe to forget then.
	Tick func(S, time.Time) ([]Emission, error)
}

// Interest is what one route is interested in.
type Interest struct {
	// Condition is an expression as in `where`: events that it does not hold for cost no call. Empty for all events.
	Condition string
	// As in Filter.
	MatchReads, ProcessReads, Sinks []string
}

// Export says what the filter is. Call it once, from init.
func Export[S any](filter Filter[S]) {
	if filter.Normalize == nil {
		filter.Normalize = func(key string, params Params) (Params, error) {
			_, err := filter.New(key, params)
			return params, err
		}
	}
	export(hooks{
		describe:  filter.describe(),
		normalize: filter.Normalize,
		subscribe: func(key string, params Params) (route, error) {
			state, err := filter.New(key, params)
			if err != nil {
				return route{}, err
			}
			interest := Interest{MatchReads: filter.MatchReads, ProcessReads: filter.ProcessReads, Sinks: filter.Sinks}
			if filter.Interest != nil {
				filter.Interest(state, &interest)
			}
			return route{
				interest: interest,
				matches:  func(event *Event) bool { return filter.Matches(state, event) },
				process:  func(event *Event) (Outcome, error) { return filter.Process(state, event) },
				tick:     func(now time.Time) ([]Emission, error) { return filter.Tick(state, now) },
			}, nil
		},
	})
}

// hooks are a filter, whatever it makes of its params.
type hooks struct {
	describe  func() string
	normalize func(key string, params Params) (Params, error)
	subscribe func(key string, params Params) (route, error)
}

// route is one subscription.
type route struct {
	interest Interest
	matches  func(*Event) bool
	process  func(*Event) (Outcome, error)
	tick     func(time.Time) ([]Emission, error)
}
