// my-filter: passes orders of at least `min`, and marks them.
package main

import (
	"strconv"

	"trommel"
)

// route is what one route needs: its params, parsed once.
type route struct{ min float64 }

// order is what the hooks read of an event. What is not named costs nothing.
type order struct {
	Amount float64 `trommel:"/amount"`
}

// newRoute is called for every route, in every instance: it parses, and no more. An error refuses the route.
func newRoute(_ string, params trommel.Params) (route, error) {
	made := route{min: 100}
	for name, value := range params {
		if name != "min" {
			return made, trommel.Malformed("unknown param `%s`", name)
		}
		min, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return made, trommel.Malformed("`min` is no number: `%s`", value)
		}
		made.min = min
	}
	return made, nil
}

// matches is called for every event of the key, very often. It can call nothing: it only decides.
func (r route) matches(event *trommel.Event) bool {
	amount, ok := event.Get("/amount").Float()
	return ok && amount >= r.min
}

// process is called for what matched. Its error is made by trommel.Malformed, Retry, Failed, Defer or Broken.
func (r route) process(event *trommel.Event) (trommel.Outcome, error) {
	var order order
	if err := event.Decode(&order); err != nil {
		return trommel.Drop, err
	}
	trommel.Log(trommel.Debug, "an order of %v", order.Amount)
	return trommel.Edit(trommel.Set("/large", true)) // all else stays as it was written
}

func init() {
	trommel.Export(trommel.Filter[route]{
		Manifest: trommel.Manifest{
			Name:        "my-filter",
			Version:     "0.1.0",
			Description: "Passes large orders",
			Params: []trommel.Param{
				{Name: "min", Type: "int", Default: "100", Description: "Smallest amount that passes"},
			},
		},
		MatchReads:   trommel.Reads[order](),
		ProcessReads: trommel.Reads[order](),
		New:          newRoute,
		Matches:      route.matches,
		Process:      route.process,
	})
}

// The router calls what init exports.
func main() {}
