//go:build !wasm

package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var levels = [...]string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR"}

func LogEnabled(Level) bool { return true }

func Log(level Level, message string, fields []Pair) {
	line := levels[min(int(level), len(levels)-1)] + " " + message
	for _, field := range fields {
		line += fmt.Sprintf(" %s=%q", field.Name, field.Value)
	}
	fmt.Fprintln(os.Stderr, line)
}

func Measure(string, float64) {}

func Annotate(string, string) {}

func Call(Request) (Response, *Error) {
	return Response{}, &Error{"failed", "there is no API outside a router: test this by a case of `trommel plugin test`"}
}

// store is the state of all filters of a test. Nothing in it grows old.
var store = struct {
	sync.Mutex
	values map[string][]byte
}{values: map[string][]byte{}}

func GetMany(keys []string) ([][]byte, *Error) {
	store.Lock()
	defer store.Unlock()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = store.values[key]
	}
	return values, nil
}

func Set(key string, value []byte, _ time.Duration) *Error {
	store.Lock()
	defer store.Unlock()
	store.values[key] = append([]byte{}, value...)
	return nil
}

func SetMany(values map[string][]byte, ttl time.Duration) *Error {
	for key, value := range values {
		Set(key, value, ttl)
	}
	return nil
}

func DeleteMany(keys []string) *Error {
	store.Lock()
	defer store.Unlock()
	for _, key := range keys {
		delete(store.values, key)
	}
	return nil
}

func Keys(prefix string) ([]string, *Error) {
	store.Lock()
	defer store.Unlock()
	var keys []string
	for key := range store.values {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func Increment(key string, delta int64, _ time.Duration) (int64, *Error) {
	store.Lock()
	defer store.Unlock()
	sum := delta
	if value, ok := store.values[key]; ok {
		number, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return 0, &Error{Kind: "conflict"}
		}
		sum += number
	}
	store.values[key] = strconv.AppendInt(nil, sum, 10)
	return sum, nil
}

func Swap(key string, old, value []byte, _ time.Duration) *Error {
	store.Lock()
	defer store.Unlock()
	present, ok := store.values[key]
	if ok != (old != nil) || !bytes.Equal(present, old) {
		return &Error{Kind: "conflict"}
	}
	store.values[key] = append([]byte{}, value...)
	return nil
}
