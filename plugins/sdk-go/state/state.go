// Package state is the filter's small store, kept apart for every filter and key. Granted by `grants = ["state"]`.
package state

import (
	"fmt"
	"time"

	"trommel/internal/host"
)

// Error says why the state did not do as it was told. To tell kinds apart: errors.Is(err, state.Conflict).
type Error struct {
	// One of "denied", "too-large", "conflict", "unavailable".
	Kind string
	// What was wrong, if there is more to say.
	Text string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "state: " + e.Kind
	}
	return fmt.Sprintf("state: %s: %s", e.Kind, e.Text)
}

// Is says whether the other is of the same kind.
func (e *Error) Is(other error) bool {
	known, ok := other.(*Error)
	return ok && known.Kind == e.Kind
}

// Conflict: the value is not what was expected. Another has changed it, or it is no number.
var Conflict = &Error{Kind: "conflict"}

func result(failed *host.Error) error {
	if failed == nil {
		return nil
	}
	return &Error{failed.Kind, failed.Text}
}

// Get returns what is kept under a key, nil when there is nothing.
func Get(key string) ([]byte, error) {
	values, err := GetMany(key)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

// GetMany returns what is kept under each of these keys, nil where there is nothing.
func GetMany(keys ...string) ([][]byte, error) {
	values, failed := host.GetMany(keys)
	return values, result(failed)
}

// Set keeps a value, for this long; 0 is for good.
func Set(key string, value []byte, ttl time.Duration) error { return result(host.Set(key, value, ttl)) }

// SetMany keeps many values for this long; 0 is for good. All are set or none, but for a store that routers share.
func SetMany(values map[string][]byte, ttl time.Duration) error {
	return result(host.SetMany(values, ttl))
}

// Delete forgets what is kept under a key.
func Delete(key string) error { return DeleteMany(key) }

// DeleteMany forgets what is kept under each of these keys.
func DeleteMany(keys ...string) error { return result(host.DeleteMany(keys)) }

// Keys returns the keys that begin with a prefix, in no order, at most 1,000.
func Keys(prefix string) ([]string, error) {
	keys, failed := host.Keys(prefix)
	return keys, result(failed)
}

// Increment adds to the number that is kept under a key, 0 when absent, and returns the sum. A ttl of 0 keeps what it has.
func Increment(key string, delta int64, ttl time.Duration) (int64, error) {
	sum, failed := host.Increment(key, delta, ttl)
	return sum, result(failed)
}

// Swap keeps a value if the present one is old, nil for none; otherwise its error is a Conflict.
func Swap(key string, old, value []byte, ttl time.Duration) error {
	return result(host.Swap(key, old, value, ttl))
}
