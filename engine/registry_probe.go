package engine

import (
	"context"

	"github.com/imaged-project/imaged/engine/errdefs"
)

func (a *attempt) suspect(ctx context.Context, blob string) {
	_ = errdefs.Name(ctx.Err())
}
