// Package gen is the folder of the generated packages, one for each interface file of package idl; it has no code of its
// own, and nothing imports it.
package gen

//go:generate go run ../../cmd/varlinkgen -out images -idl github.com/imaged-project/imaged/idl ../../idl/io.imaged.images.varlink
//go:generate go run ../../cmd/varlinkgen -out transfers -idl github.com/imaged-project/imaged/idl ../../idl/io.imaged.transfers.varlink
//go:generate go run ../../cmd/varlinkgen -out jobs -idl github.com/imaged-project/imaged/idl ../../idl/io.imaged.jobs.varlink
//go:generate go run ../../cmd/varlinkgen -out info -idl github.com/imaged-project/imaged/idl ../../idl/io.imaged.info.varlink
//go:generate go run ../../cmd/varlinkgen -out systemdservice -package systemdservice -idl github.com/imaged-project/imaged/idl ../../idl/io.systemd.service.varlink
