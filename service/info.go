package service

import (
	"cmp"
	"context"
	"runtime"
	"slices"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/info"
)

// infoService is io.imaged.info.
type infoService struct {
	engine *engine.Engine
	server *varlink.Server
	api    []string
}

// GetVersion tells the daemon's version.
func (s infoService) GetVersion(context.Context, info.GetVersionIn) (info.GetVersionOut, error) {
	return info.GetVersionOut{Version: Version, Commit: Commit, Go: runtime.Version(), API: slices.Clone(s.api)}, nil
}

// GetStore tells where the store is and what it holds.
func (s infoService) GetStore(ctx context.Context, _ info.GetStoreIn) (info.GetStoreOut, error) {
	i, err := s.engine.Info(ctx)
	if err != nil {
		return info.GetStoreOut{}, failure(info.Interface, err)
	}
	out := info.GetStoreOut{
		Driver: i.Driver, GraphRoot: i.GraphRoot, RunRoot: i.RunRoot, TmpDir: i.TmpDir, Images: int64(i.Images), Layers: int64(i.Layers),
		Used: i.Used, Free: i.Free, Registries: i.Registries, Rootless: i.Rootless, Isolation: i.Isolation,
	}
	for _, f := range i.Sources {
		out.Sources = append(out.Sources, info.Source{Name: f.Name, Path: optional(f.Path)})
	}
	return out, nil
}

// GetLimits tells the daemon's limits.
func (s infoService) GetLimits(context.Context, info.GetLimitsIn) (info.GetLimitsOut, error) {
	var out info.GetLimitsOut
	for _, l := range serverLimits(s.server) {
		out.Limits = append(out.Limits, l.Limit)
	}
	for _, l := range s.engine.Limits() {
		out.Limits = append(out.Limits, info.Limit(l))
	}
	return out, nil
}

// serverLimit is a limit of the protocol. The connection that goes over one ends, or waits.
type serverLimit struct {
	info.Limit
	at *int
}

// limitMessage is the name of varlink.Server.MaxMessageSize.
const limitMessage = "varlink.message"

func serverLimits(s *varlink.Server) []serverLimit {
	limit := func(at *int, standard int, name, unit, description string) serverLimit {
		return serverLimit{info.Limit{Name: name, Value: int64(cmp.Or(*at, standard)), Unit: unit, Description: description}, at}
	}
	return []serverLimit{
		limit(&s.MaxMessageSize, varlink.DefaultMaxMessageSize, limitMessage, "bytes", "size of a message, in either direction"),
		limit(&s.MaxConnections, varlink.DefaultMaxConnections, "varlink.connections", "connections", "connections in all"),
		limit(&s.MaxConnectionsPerUID, varlink.DefaultMaxConnectionsPerUID, "varlink.connectionsPerUid", "connections", "connections of one user"),
		limit(&s.MaxDescriptors, varlink.DefaultMaxDescriptors, "varlink.descriptors", "descriptors", "descriptors that come with a call"),
		limit(&s.MaxPipelined, varlink.DefaultMaxPipelined, "varlink.pipelined", "calls", "calls of one connection that wait for the one before them"),
	}
}

// SetLimit sets the limit of that name of a server that does not serve yet, and tells whether there is one.
func SetLimit(s *varlink.Server, name string, value int64) bool {
	for _, l := range serverLimits(s) {
		if l.Name == name {
			*l.at = int(value)
			return true
		}
	}
	return false
}
