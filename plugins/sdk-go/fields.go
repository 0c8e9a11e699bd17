package trommel

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"
)

// Reads lists the fields that a struct's tags name, for MatchReads and ProcessReads:
//
//	type order struct {
//		Tier   *string `trommel:"/customer/tier"`
//		Amount float64 `trommel:"/amount"`
//		Region string  `trommel:"header:region"`
//	}
//
// Event.Decode fills it in.
func Reads[T any]() []string {
	var names []string
	for _, field := range tagged(reflect.TypeFor[T]()) {
		names = append(names, field.name)
	}
	return names
}

// Decode fills in a struct whose tags name fields that the hook reads. What is absent or null leaves a pointer nil, and is
// an error that Malformed made for all else, as is what has another type.
func (e *Event) Decode(into any) error {
	target := reflect.ValueOf(into).Elem()
	for _, field := range tagged(target.Type()) {
		value := e.Get(field.name)
		if err := value.fill(target.Field(field.at)); err != nil {
			return Malformed("`%s`: %w", field.name, err)
		}
	}
	return nil
}

type taggedField struct {
	at   int
	name string
}

// plans has the tagged fields of each type that was asked about.
var plans sync.Map

func tagged(of reflect.Type) []taggedField {
	if known, ok := plans.Load(of); ok {
		return known.([]taggedField)
	}
	var fields []taggedField
	for at := range of.NumField() {
		if name, ok := of.Field(at).Tag.Lookup("trommel"); ok {
			if !of.Field(at).IsExported() {
				panic(fmt.Sprintf("trommel: the field `%s` of %v must begin with a capital letter", of.Field(at).Name, of))
			}
			fields = append(fields, taggedField{at, name})
		}
	}
	plans.Store(of, fields)
	return fields
}

func (v Value) fill(into reflect.Value) error {
	if !v.Exists() || v.IsNull() {
		if into.Kind() == reflect.Pointer {
			into.SetZero()
			return nil
		}
		if v.Exists() {
			return fmt.Errorf("expected %v, found null", into.Type())
		}
		return fmt.Errorf("expected %v, found nothing", into.Type())
	}
	if into.Kind() == reflect.Pointer {
		fresh := reflect.New(into.Type().Elem())
		into.Set(fresh)
		into = fresh.Elem()
	}
	switch into.Interface().(type) {
	case []byte, json.RawMessage:
		into.SetBytes(v.raw)
		return nil
	}
	ok := true
	switch into.Kind() {
	case reflect.String:
		var text string
		if text, ok = v.Text(); ok {
			into.SetString(text)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var number int64
		if number, ok = v.Int(); ok && !into.OverflowInt(number) {
			into.SetInt(number)
		} else {
			ok = false
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		number, err := strconv.ParseUint(string(v.raw), 10, 64)
		if ok = err == nil && !into.OverflowUint(number); ok {
			into.SetUint(number)
		}
	case reflect.Float32, reflect.Float64:
		var number float64
		if number, ok = v.Float(); ok {
			into.SetFloat(number)
		}
	case reflect.Bool:
		var truth bool
		if truth, ok = v.Bool(); ok {
			into.SetBool(truth)
		}
	default:
		return json.Unmarshal(v.raw, into.Addr().Interface())
	}
	if !ok {
		return fmt.Errorf("expected %v, found %s", into.Type(), shortened(v.raw))
	}
	return nil
}

// shortened is a value for a message.
func shortened(value []byte) string {
	if len(value) > 60 {
		return string(value[:60]) + "…"
	}
	return string(value)
}
