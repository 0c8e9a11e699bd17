module filters/my-filter

go 1.25

require trommel v0.0.0

require go.bytecodealliance.org/pkg v0.2.1 // indirect

replace trommel => ./sdk
