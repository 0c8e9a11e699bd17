package trommel

import (
	"encoding/binary"
	"math"
	"sort"
	"time"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	border "trommel/internal/wit/export_trommel_filter_filter"
	types "trommel/internal/wit/trommel_filter_types"
	_ "trommel/internal/wit/wit_exports"
)

type pair = witTypes.Tuple2[string, string]

// export sets what the router calls.
func export(filter hooks) {
	border.Hooks.Describe = filter.describe
	border.Hooks.NormalizeParams = func(key string, list types.Params) witTypes.Result[types.Params, types.Failure] {
		params, err := filter.normalize(key, fromPairs(list))
		if err != nil {
			return witTypes.Err[types.Params](failed(err, "malformed"))
		}
		return witTypes.Ok[types.Params, types.Failure](toPairs(params))
	}
	border.Hooks.Subscribe = func(key string, list types.Params) (border.Subscriber, *types.Failure) {
		made, err := filter.subscribe(key, fromPairs(list))
		if err != nil {
			failure := failed(err, "malformed")
			return nil, &failure
		}
		return &subscription{made}, nil
	}
}

type subscription struct{ route }

func (s *subscription) Interest() types.Interest {
	of := s.interest
	return types.Interest{
		Condition: of.Condition, MatchReads: of.MatchReads, ProcessReads: of.ProcessReads, Sinks: of.Sinks,
	}
}

func (s *subscription) Matches(list types.Event) bool {
	event, size := one(s.interest.MatchReads, list)
	defer collect(size)
	return s.matches(event)
}

func (s *subscription) Process(list types.Event) border.Answer {
	event, size := one(s.interest.ProcessReads, list)
	defer collect(size)
	return answer(s.process(event))
}

func (s *subscription) MatchesBatch(batch types.EventBatch) []uint64 {
	defer collect(len(batch.Arena) + len(batch.Index))
	count := events(batch)
	bits := make([]uint64, (count+63)/64)
	for i, event := range each(s.interest.MatchReads, batch) {
		if s.matches(event) {
			bits[i/64] |= 1 << (i % 64)
		}
	}
	return bits
}

func (s *subscription) ProcessBatch(batch types.EventBatch) []border.Answer {
	defer collect(len(batch.Arena) + len(batch.Index))
	answers := make([]border.Answer, 0, events(batch))
	for _, event := range each(s.interest.ProcessReads, batch) {
		answers = append(answers, answer(s.process(event)))
	}
	return answers
}

func (s *subscription) Tick(now uint64) witTypes.Result[[]types.Emission, types.Failure] {
	defer collect(0)
	emissions, err := s.tick(time.UnixMilli(int64(now)))
	if err != nil {
		return witTypes.Err[[]types.Emission](failed(err, "failed"))
	}
	return witTypes.Ok[[]types.Emission, types.Failure](written(emissions))
}

// one is the event of a call, and how many bytes came with it.
func one(names []string, list types.Event) (event *Event, size int) {
	event = &Event{names: names, values: make([][]byte, len(list))}
	for i, value := range list {
		if value.Tag() == witTypes.OptionSome {
			event.values[i] = present(value.Some())
			size += len(event.values[i])
		}
	}
	return event, size
}

// present is an empty value instead of the nil of an absent one.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

const (
	// The version of the layout of batches.
	layout = 2
	// Bytes of a number.
	number = 4
	// Bytes of the numbers before those of the first event.
	head = 3 * number
)

// events is the number of events in a batch.
func events(batch types.EventBatch) int {
	if found := binary.LittleEndian.Uint32(batch.Index); found != layout {
		panic("trommel: a batch in a layout that this kit does not know")
	}
	return int(binary.LittleEndian.Uint32(batch.Index[number:]))
}

// each goes through a batch.
func each(names []string, batch types.EventBatch) func(func(int, *Event) bool) {
	return func(yield func(int, *Event) bool) {
		fields := int(binary.LittleEndian.Uint32(batch.Index[2*number:]))
		at := batch.Index[head:]
		for i := range events(batch) {
			event := &Event{names: names, values: make([][]byte, fields)}
			for field := range fields {
				offset, length := binary.LittleEndian.Uint32(at), binary.LittleEndian.Uint32(at[number:])
				if at = at[2*number:]; offset != math.MaxUint32 {
					event.values[field] = present(batch.Arena[offset:][:length:length])
				}
			}
			if !yield(i, event) {
				return
			}
		}
	}
}

func answer(outcome Outcome, err error) border.Answer {
	if err != nil {
		return witTypes.Err[types.Outcome](failed(err, "failed"))
	}
	made := types.MakeOutcomeDrop()
	switch outcome.Action {
	case "drop":
	case "keep":
		made = types.MakeOutcomeKeep()
	case "replace":
		made = types.MakeOutcomeReplace(outcome.Payload)
	case "edit":
		edits := make([]types.Edit, len(outcome.Changes))
		for i, change := range outcome.Changes {
			edits[i] = types.Edit{Field: change.Field, Change: changed(change)}
		}
		made = types.MakeOutcomeEdit(edits)
	case "emit":
		made = types.MakeOutcomeEmit(written(outcome.Emissions))
	default:
		panic("trommel: Process returned an Outcome that is none: return Drop, Keep, or what Replace, Edit or Emit made")
	}
	return witTypes.Ok[types.Outcome, types.Failure](made)
}

func changed(change Change) types.Change {
	switch {
	case change.Remove:
		return types.MakeChangeRemove()
	case change.Rename != "":
		return types.MakeChangeRename(change.Rename)
	default:
		return types.MakeChangeSet(change.Set)
	}
}

func written(emissions []Emission) []types.Emission {
	list := make([]types.Emission, len(emissions))
	for i, emission := range emissions {
		list[i] = types.Emission{
			Payload: emission.Payload, Sink: some(emission.Sink), Id: some(emission.ID), Subject: some(emission.Subject),
			NotBefore: witTypes.None[uint64](), Fate: types.MakeFateSend(),
		}
		if !emission.NotBefore.IsZero() {
			list[i].NotBefore = witTypes.Some(uint64(max(emission.NotBefore.UnixMilli(), 0)))
		}
		for _, name := range emission.RemoveHeaders {
			list[i].Headers = append(list[i].Headers, header{F0: name, F1: witTypes.None[string]()})
		}
		for _, one := range emission.Headers {
			list[i].Headers = append(list[i].Headers, header{F0: one.Name, F1: witTypes.Some(one.Value)})
		}
		if emission.Buried != nil {
			list[i].Fate = types.MakeFateBury(types.Cause{Code: some(emission.Buried.Code), Detail: emission.Buried.Detail})
		}
	}
	return list
}

type header = witTypes.Tuple2[string, witTypes.Option[string]]

func some(text string) witTypes.Option[string] {
	if text == "" {
		return witTypes.None[string]()
	}
	return witTypes.Some(text)
}

func failed(err error, answer string) types.Failure {
	failure := failure(err, answer)
	after := uint32(min(max(failure.After.Milliseconds(), 0), math.MaxUint32))
	kind := types.MakeFailureKindMalformed()
	switch failure.Kind {
	case "retry":
		kind = types.MakeFailureKindRetry(after)
	case "failed":
		kind = types.MakeFailureKindFailed()
	case "defer":
		kind = types.MakeFailureKindDefer(after)
	case "broken":
		kind = types.MakeFailureKindBroken()
	}
	return types.Failure{Kind: kind, Cause: types.Cause{Code: some(failure.Code), Detail: failure.Error()}}
}

func fromPairs(list types.Params) Params {
	params := make(Params, len(list))
	for _, pair := range list {
		params[pair.F0] = pair.F1
	}
	return params
}

func toPairs(params Params) types.Params {
	list := make(types.Params, 0, len(params))
	for name, value := range params {
		list = append(list, pair{F0: name, F1: value})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].F0 < list[j].F0 })
	return list
}
