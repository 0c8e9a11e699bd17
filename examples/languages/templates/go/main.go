// my-filter: passes orders of at least `min`, and of them only what is wanted.
package main

import (
	"strconv"

	"trommel"
)

// route is what one route needs: its params, parsed once.
type route struct{ min float64 }

// order is what the payload is decoded to.
type order struct {
	Amount float64 `json:"amount"`
	Large  bool    `json:"large"`
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
	var order order
	return event.JSON(&order) == nil && order.Amount >= r.min
}

// process is called for what matched. Its error is made by trommel.Malformed, Retry, Failed or Broken.
func (r route) process(event *trommel.Event) (trommel.Outcome, error) {
	var order order
	if err := event.JSON(&order); err != nil {
		return trommel.Drop, err
	}
	trommel.Log(trommel.Debug, "an order of %v", order.Amount)
	order.Large = true
	return trommel.ReplaceJSON(order)
}

func init() {
	trommel.Export(trommel.Filter[route]{
		Name:        "my-filter",
		Version:     "0.1.0",
		Description: "Passes large orders",
		// What is not asked for is not handed over, and costs nothing.
		MatchReads:   trommel.Payload,
		ProcessReads: trommel.Payload,
		New:          newRoute,
		Matches:      route.matches,
		Process:      route.process,
	})
}

// The router calls what init exports.
func main() {}
