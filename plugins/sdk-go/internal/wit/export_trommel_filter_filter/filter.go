package export_trommel_filter_filter

import (
	"runtime"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	types "trommel/internal/wit/trommel_filter_types"
)

type Failure = types.Failure

// Hooks is what the generated code of this package calls, set by package trommel.
var Hooks struct {
	Describe        func() types.Manifest
	NormalizeParams func(key string, params types.Params) witTypes.Result[types.Params, Failure]
	Subscribe       func(key string, params types.Params) Subscriber
}

// Subscriber is one route's interest.
type Subscriber interface {
	Conditions() [][]types.Condition
	Matches(types.Event) bool
	Process(types.Event) witTypes.Result[types.Outcome, Failure]
}

// Subscription is the resource of that name: the generated code keeps its handle and pins it.
type Subscription struct {
	Subscriber
	pinner runtime.Pinner
	handle int32
}

func (*Subscription) OnDrop() {}

func Describe() types.Manifest { return Hooks.Describe() }

func NormalizeParams(key string, params types.Params) witTypes.Result[types.Params, Failure] {
	return Hooks.NormalizeParams(key, params)
}

func MakeSubscription(key string, params types.Params) *Subscription {
	return &Subscription{Subscriber: Hooks.Subscribe(key, params)}
}
