package service

import (
	"context"
	"errors"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// Save writes images into an archive.
func (s transfersService) Save(ctx context.Context, in transfers.SaveIn, send func(transfers.SaveOut) error) (out transfers.SaveOut, err error) {
	way, err := takeBulk(ctx, in.FileDescriptor)
	if err != nil {
		return out, err
	}
	peer := varlink.CallFrom(ctx).Peer()
	watch, err := s.engine.Save(ctx, in.Names, engine.SaveOptions{
		UID: peer.UID, AllowPath: own(peer), Format: engine.ArchiveFormat(in.Format), Compress: value(in.Compress),
		AcceptUncompressed: value(in.AcceptUncompressed), Tags: in.Tags, Output: way.output(), Path: value(in.Path),
	})
	if err != nil {
		return out, failure(transfers.Interface, err)
	}
	defer func() { err = errors.Join(err, way.endDownload()) }()
	result, err := way.follow(ctx, watch, func(job *string) any { return transfers.SaveOut{Job: job} }, func(n news) error {
		return send(transfers.SaveOut{Job: n.job, Progress: n.progress, Lines: n.lines})
	})
	if err != nil {
		return out, failure(transfers.Interface, err)
	}
	return final[transfers.SaveOut](result), nil
}

// Load loads all images of an archive.
func (s transfersService) Load(ctx context.Context, in transfers.LoadIn, send func(transfers.LoadOut) error) (out transfers.LoadOut, err error) {
	way, err := takeBulk(ctx, in.FileDescriptor)
	if err != nil {
		return out, err
	}
	peer := varlink.CallFrom(ctx).Peer()
	watch, err := s.engine.Load(ctx, engine.LoadOptions{
		UID: peer.UID, AllowPath: own(peer), Input: way.input(), Path: value(in.Path), Name: value(in.Name),
	})
	if err != nil {
		return out, failure(transfers.Interface, err)
	}
	result, err := way.follow(ctx, watch, func(job *string) any { return transfers.LoadOut{Job: job} }, func(n news) error {
		return send(transfers.LoadOut{Job: n.job, Progress: n.progress, Lines: n.lines})
	})
	if err != nil {
		return out, failure(transfers.Interface, err)
	}
	return final[transfers.LoadOut](result), nil
}

// Import makes an image of a root filesystem.
func (s transfersService) Import(ctx context.Context, in transfers.ImportIn, send func(transfers.ImportOut) error) (out transfers.ImportOut, err error) {
	way, err := takeBulk(ctx, in.FileDescriptor)
	if err != nil {
		return out, err
	}
	peer := varlink.CallFrom(ctx).Peer()
	watch, err := s.engine.Import(ctx, engine.ImportOptions{
		UID: peer.UID, AllowPath: own(peer), Input: way.input(), Path: value(in.Path), URL: value(in.URL), Name: value(in.Name),
		Message: value(in.Message), Changes: in.Changes, Platform: platformOf(in.Platform),
	})
	if err != nil {
		return out, failure(transfers.Interface, err)
	}
	result, err := way.follow(ctx, watch, func(job *string) any { return transfers.ImportOut{Job: job} }, func(n news) error {
		return send(transfers.ImportOut{Job: n.job, Progress: n.progress, Lines: n.lines})
	})
	if err != nil {
		return out, failure(transfers.Interface, err)
	}
	return final[transfers.ImportOut](result), nil
}
