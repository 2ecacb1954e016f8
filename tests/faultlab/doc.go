// Package faultlab breaks things under a running imaged: the power, the process, the disk, the system's limits. Its
// cases are operation × fault × point. Each has a store of its own on a file system of its own, which was made from one
// template; after each the same invariants are held against what is left (verify_test.go says which).
//
// A new operation of imaged is one row in operations_test.go, a new fault one in faults_test.go.
//
//	make test    runs a quick choice of cases
//	make faults  runs them all, with many more points
//
// FAULTLAB_SEED repeats the random points of another run, which prints its seed. Cases run as root only; all that they
// mount is in a mount namespace that ends with them.
//
// It holds tests only; nobody imports it.
package faultlab
