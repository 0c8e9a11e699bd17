//go:build !wasm

package trommel

// There is no router to export to in `go test`.
func export(hooks) {}
