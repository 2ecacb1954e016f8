package engine

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// everyone is the weight of a writer; a reader weighs one.
const everyone = 1 << 30

// keyedLocks are readers-writer locks that exist while someone uses them. Waiting is first come, first served.
type keyedLocks struct {
	mu   sync.Mutex // guards held
	held map[string]*keyedLock
}

type keyedLock struct {
	sem   *semaphore.Weighted
	users int // holders and waiters, guarded by keyedLocks.mu
}

func newKeyedLocks() *keyedLocks {
	return &keyedLocks{held: make(map[string]*keyedLock)}
}

func (l *keyedLocks) lock(ctx context.Context, key string) (func(), error) {
	return l.acquire(ctx, key, everyone)
}

func (l *keyedLocks) rlock(ctx context.Context, key string) (func(), error) {
	return l.acquire(ctx, key, 1)
}

func (l *keyedLocks) acquire(ctx context.Context, key string, weight int64) (func(), error) {
	l.mu.Lock()
	k := l.held[key]
	if k == nil {
		k = &keyedLock{sem: semaphore.NewWeighted(everyone)}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()

	if err := k.sem.Acquire(ctx, weight); err != nil {
		l.leave(key, k)
		return nil, cancelled(ctx)
	}
	return sync.OnceFunc(func() {
		k.sem.Release(weight)
		l.leave(key, k)
	}), nil
}

func (l *keyedLocks) leave(key string, k *keyedLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}
