package main

import (
	"testing"

	"trommel"
)

func TestLargeOrdersPassAndAreMarked(t *testing.T) {
	route, err := newRoute("key", trommel.Params{"min": "200"})
	if err != nil {
		t.Fatal(err)
	}
	event := trommel.NewEvent(map[string]string{"/amount": "250"})
	if !route.matches(event) {
		t.Fatal("it does not match")
	}
	outcome, err := route.process(event)
	if err != nil || outcome.Action != "edit" || string(outcome.Changes[0].Set) != "true" {
		t.Fatal(outcome, err)
	}
}
