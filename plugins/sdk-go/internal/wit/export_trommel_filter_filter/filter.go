package export_trommel_filter_filter

import (
	"runtime"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	types "trommel/internal/wit/trommel_filter_types"
)

type Failure = types.Failure

// Answer is what Process says of one event.
type Answer = witTypes.Result[types.Outcome, Failure]

// Hooks is what the generated code of this package calls, set by package trommel.
var Hooks struct {
	Describe        func() string
	NormalizeParams func(key string, params types.Params) witTypes.Result[types.Params, Failure]
	Subscribe       func(key string, params types.Params) (Subscriber, *Failure)
}

// Subscriber is one route's interest.
type Subscriber interface {
	Interest() types.Interest
	Matches(types.Event) bool
	MatchesBatch(types.EventBatch) []uint64
	Process(types.Event) Answer
	ProcessBatch(types.EventBatch) []Answer
	Tick(now uint64) witTypes.Result[[]types.Emission, Failure]
}

// Subscription is the resource of that name: the generated code keeps its handle and pins it.
type Subscription struct {
	Subscriber
	pinner runtime.Pinner
	handle int32
}

func (*Subscription) OnDrop() {}

func Describe() string { return Hooks.Describe() }

func NormalizeParams(key string, params types.Params) witTypes.Result[types.Params, Failure] {
	return Hooks.NormalizeParams(key, params)
}

func MakeSubscription(key string, params types.Params) witTypes.Result[*Subscription, Failure] {
	subscriber, failure := Hooks.Subscribe(key, params)
	if failure != nil {
		return witTypes.Err[*Subscription](*failure)
	}
	return witTypes.Ok[*Subscription, Failure](&Subscription{Subscriber: subscriber})
}
