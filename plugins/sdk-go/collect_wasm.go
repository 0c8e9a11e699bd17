package trommel

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Go's collector asks for the time. While the router hands over arguments, for which it has the filter allocate, a
// component can call nothing, and a collection that began just then would be its end. So none begins by itself: one is
// made between two events, when there is enough to collect.

const (
	// Bytes of garbage that a collection is worth.
	worth = 8 << 20
	// Bytes handed over after which it is time to look.
	span = 128 << 10
	// What a call leaves behind at least.
	least = 4 << 10
)

var collector struct {
	// Bytes handed over since the last look.
	seen int
	// Bytes in use after the last collection.
	live  uint64
	using []metrics.Sample
}

func init() {
	debug.SetGCPercent(-1)
	collector.using = []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
}

// collect is called in each hook that sees events, with the bytes that came with this one.
func collect(bytes int) {
	c := &collector
	if c.seen += least + bytes; c.seen < span {
		return
	}
	c.seen = 0
	if metrics.Read(c.using); c.using[0].Value.Uint64() < c.live+worth {
		return
	}
	runtime.GC()
	metrics.Read(c.using)
	c.live = c.using[0].Value.Uint64()
}
