// Package tests holds what the kit promises to filters, outside of a router: `go test ./tests`.
package tests

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"trommel"
	"trommel/state"
)

type order struct {
	Tier   *string        `trommel:"/customer/tier"`
	Amount float64        `trommel:"/amount"`
	Count  uint8          `trommel:"/count"`
	Region string         `trommel:"header:region"`
	Lines  []string       `trommel:"/lines"`
	Extra  map[string]int `trommel:"/extra"`
	Own    int
}

func fields(changed map[string]string) map[string]string {
	all := map[string]string{
		"/customer/tier": `"gr\u00f6\u00dfer"`, "/amount": "1.50", "/count": "3", "header:region": "eu",
		"/lines": `["a"]`, "/extra": `{"a":1}`,
	}
	for name, value := range changed {
		if all[name] = value; value == "" {
			delete(all, name)
		}
	}
	return all
}

func TestReadsAreTheTags(t *testing.T) {
	reads := trommel.Reads[order]()
	if !slices.Equal(reads, []string{"/customer/tier", "/amount", "/count", "header:region", "/lines", "/extra"}) {
		t.Fatal(reads)
	}
}

func TestAStructIsFilledIn(t *testing.T) {
	var got order
	if err := trommel.NewEvent(fields(nil)).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if *got.Tier != "größer" || got.Amount != 1.5 || got.Count != 3 || got.Region != "eu" || got.Lines[0] != "a" ||
		got.Extra["a"] != 1 {
		t.Fatalf("%+v", got)
	}
	for _, value := range []string{"", "null"} {
		if err := trommel.NewEvent(fields(map[string]string{"/customer/tier": value})).Decode(&got); err != nil || got.Tier != nil {
			t.Fatal(err, got.Tier)
		}
	}
}

func TestWhatDoesNotFitNamesTheField(t *testing.T) {
	for _, one := range []struct{ field, value, expected string }{
		{"/amount", "", "`/amount`: expected float64, found nothing"},
		{"/amount", "null", "`/amount`: expected float64, found null"},
		{"/amount", `"1"`, "`/amount`: expected float64, found \"1\""},
		{"/count", "256", "`/count`: expected uint8, found 256"},
		{"/count", "-1", "`/count`: expected uint8, found -1"},
		{"/customer/tier", "7", "`/customer/tier`: expected string, found 7"},
		{"/lines", "7", "`/lines`: json: cannot unmarshal"},
	} {
		var got order
		err := trommel.NewEvent(fields(map[string]string{one.field: one.value})).Decode(&got)
		var failure *trommel.Failure
		if !errors.As(err, &failure) || failure.Kind != "malformed" || !strings.HasPrefix(err.Error(), one.expected) {
			t.Errorf("%s %s: %v", one.field, one.value, err)
		}
	}
}

func TestAbsentNullAndEmptyAreTold(t *testing.T) {
	event := trommel.NewEvent(map[string]string{"/null": "null", "/empty": `""`, "header:empty": ""})
	if event.Get("/none").Exists() || !event.Get("/null").IsNull() || !event.Get("header:empty").Exists() {
		t.Fatal("absent, null or empty")
	}
	if _, ok := event.Get("/null").Text(); ok {
		t.Fatal("null is no text")
	}
	if text, ok := event.Get("/empty").Text(); !ok || text != "" {
		t.Fatal(text)
	}
}

func TestChangesAreJSONOrText(t *testing.T) {
	outcome, err := trommel.Edit(trommel.Set("/a", "<x>"), trommel.Set("header:b", "<x>"), trommel.Set("/c", nil))
	if err != nil {
		t.Fatal(err)
	}
	for i, expected := range []string{`"<x>"`, "<x>", "null"} {
		if string(outcome.Changes[i].Set) != expected {
			t.Errorf("%s instead of %s", outcome.Changes[i].Set, expected)
		}
	}
	if _, err := trommel.Edit(trommel.Set("/a", math.NaN())); err == nil || !strings.HasPrefix(err.Error(), "`/a` can't be set") {
		t.Fatal(err)
	}
}

func TestWrappedFailuresKeepTheirKindAndText(t *testing.T) {
	err := fmt.Errorf("order 7: %w", trommel.Malformed("no rate").WithCode("no_rate"))
	var failure *trommel.Failure
	if !errors.As(err, &failure) || failure.Code != "no_rate" || err.Error() != "order 7: no rate" {
		t.Fatal(err)
	}
}

func TestTheStateSwapsWhatItHolds(t *testing.T) {
	if err := state.Swap("key", nil, []byte("a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := state.Swap("key", nil, []byte("b"), 0); !errors.Is(err, state.Conflict) {
		t.Fatal(err)
	}
	if values, err := state.GetMany("key", "other"); err != nil || string(values[0]) != "a" || values[1] != nil {
		t.Fatal(values, err)
	}
	if err := state.SetMany(map[string][]byte{"m/1": []byte("x"), "m/2": {}}, 0); err != nil {
		t.Fatal(err)
	}
	if values, err := state.GetMany("m/1", "m/2"); err != nil || string(values[0]) != "x" || values[1] == nil {
		t.Fatal(values, err)
	}
	if err := state.DeleteMany("m/1", "m/9"); err != nil {
		t.Fatal(err)
	}
	if keys, err := state.Keys("m/"); err != nil || len(keys) != 1 || keys[0] != "m/2" {
		t.Fatal(keys, err)
	}
}
