package host

import (
	"time"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"trommel/internal/wit/trommel_filter_api"
	"trommel/internal/wit/trommel_filter_log"
	"trommel/internal/wit/trommel_filter_state"
	"trommel/internal/wit/trommel_filter_telemetry"
)

func LogEnabled(level Level) bool { return trommel_filter_log.Enabled(uint8(level)) }

func Log(level Level, message string, fields []Pair) {
	trommel_filter_log.Write(uint8(level), message, tuples(fields))
}

func Measure(metric string, value float64) { trommel_filter_telemetry.Measure(metric, value) }

func Annotate(name, value string) { trommel_filter_telemetry.Annotate(name, value) }

func Call(request Request) (Response, *Error) {
	asked := trommel_filter_api.Request{
		Api: witTypes.None[string](), Method: request.Method, Path: request.Path, Headers: tuples(request.Headers),
		Body: optional(request.Body),
	}
	if request.API != "" {
		asked.Api = witTypes.Some(request.API)
	}
	result := trommel_filter_api.Call(asked)
	if result.Tag() == witTypes.ResultErr {
		return Response{}, apiError(result.Err())
	}
	answer := result.Ok()
	response := Response{Status: answer.Status, Body: answer.Body}
	for _, header := range answer.Headers {
		response.Headers = append(response.Headers, Pair{header.F0, header.F1})
	}
	return response, nil
}

func apiError(err trommel_filter_api.ApiError) *Error {
	switch err.Tag() {
	case trommel_filter_api.ApiErrorDenied:
		return &Error{"denied", err.Denied()}
	case trommel_filter_api.ApiErrorBudget:
		return &Error{Kind: "budget"}
	case trommel_filter_api.ApiErrorTimeout:
		return &Error{Kind: "timeout"}
	default:
		return &Error{"failed", err.Failed()}
	}
}

func GetMany(keys []string) ([][]byte, *Error) {
	list, err := unpack(trommel_filter_state.GetMany(keys))
	values := make([][]byte, len(list))
	for i, value := range list {
		if value.Tag() == witTypes.OptionSome {
			// Not nil, which is nothing.
			values[i] = append([]byte{}, value.Some()...)
		}
	}
	return values, err
}

func Set(key string, value []byte, ttl time.Duration) *Error {
	_, err := unpack(trommel_filter_state.Set(key, value, millis(ttl)))
	return err
}

func SetMany(values map[string][]byte, ttl time.Duration) *Error {
	pairs := make([]witTypes.Tuple2[string, []uint8], 0, len(values))
	for key, value := range values {
		pairs = append(pairs, witTypes.Tuple2[string, []uint8]{F0: key, F1: value})
	}
	_, err := unpack(trommel_filter_state.SetMany(pairs, millis(ttl)))
	return err
}

func DeleteMany(keys []string) *Error {
	_, err := unpack(trommel_filter_state.DeleteMany(keys))
	return err
}

func Keys(prefix string) ([]string, *Error) { return unpack(trommel_filter_state.Keys(prefix)) }

func Increment(key string, delta int64, ttl time.Duration) (int64, *Error) {
	return unpack(trommel_filter_state.Increment(key, delta, millis(ttl)))
}

func Swap(key string, old, value []byte, ttl time.Duration) *Error {
	_, err := unpack(trommel_filter_state.Swap(key, optional(old), value, millis(ttl)))
	return err
}

func unpack[T any](result witTypes.Result[T, trommel_filter_state.StateError]) (value T, failed *Error) {
	if result.Tag() == witTypes.ResultOk {
		return result.Ok(), nil
	}
	switch err := result.Err(); err.Tag() {
	case trommel_filter_state.StateErrorDenied:
		return value, &Error{Kind: "denied"}
	case trommel_filter_state.StateErrorTooLarge:
		return value, &Error{Kind: "too-large"}
	case trommel_filter_state.StateErrorConflict:
		return value, &Error{Kind: "conflict"}
	default:
		return value, &Error{"unavailable", err.Unavailable()}
	}
}

func optional(value []byte) witTypes.Option[[]uint8] {
	if value == nil {
		return witTypes.None[[]uint8]()
	}
	return witTypes.Some(value)
}

// millis is a time to live in milliseconds, at least one; 0 is for good.
func millis(ttl time.Duration) witTypes.Option[uint64] {
	if ttl <= 0 {
		return witTypes.None[uint64]()
	}
	return witTypes.Some(uint64(max(ttl.Milliseconds(), 1)))
}

func tuples(pairs []Pair) []witTypes.Tuple2[string, string] {
	list := make([]witTypes.Tuple2[string, string], len(pairs))
	for i, pair := range pairs {
		list[i] = witTypes.Tuple2[string, string]{F0: pair.Name, F1: pair.Value}
	}
	return list
}
