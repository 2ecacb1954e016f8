package varlink

import "context"

// Handle makes a Method's Handle of a function with one reply. Generated code uses it.
func Handle[In, Out any](f func(ctx context.Context, in In) (Out, error)) func(context.Context, *Call) error {
	return func(ctx context.Context, c *Call) error {
		var in In
		if err := c.Decode(&in); err != nil {
			return err
		}
		out, err := f(ctx, in)
		if err != nil {
			return err
		}
		return c.Reply(&out)
	}
}

// HandleStream makes a Method's Handle of a function with any number of replies before the last, which it returns.
// Without more, send drops its argument and returns nil. An error of send means that there is nobody left to send to:
// the function should return. send may be called by several goroutines, but not after the function has returned.
// Generated code uses it.
func HandleStream[In, Out any](f func(ctx context.Context, in In, send func(Out) error) (Out, error)) func(context.Context, *Call) error {
	return func(ctx context.Context, c *Call) error {
		var in In
		if err := c.Decode(&in); err != nil {
			return err
		}
		out, err := f(ctx, in, func(out Out) error { return c.ReplyContinues(&out) })
		if err != nil {
			return err
		}
		return c.Reply(&out)
	}
}
