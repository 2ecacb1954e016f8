package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// lzma2 is the number of the only filter that matters.
const lzma2 = 0x21

// xzGuard reads an xz stream and refuses it before its decoder is asked for more memory than maxWindow: that takes what a
// block's header asks for, which may be 4 GiB, at once. All else that may be wrong is left to the decoder. It is for one
// goroutine.
type xzGuard struct {
	r     io.Reader
	skip  int64              // bytes that do not matter
	want  int                // then so many bytes are collected
	head  []byte             // those that are
	next  func([]byte) error // for next, which says what follows
	check int64              // length of a block's check in this stream
	size  int64              // of the block or the index so far
	left  uint64             // numbers that the index still has
}

func newXZGuard(r io.Reader) *xzGuard {
	g := &xzGuard{r: r}
	g.expect(0, 4, g.stream)
	return g
}

// Read reads on.
func (g *xzGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if g.skip > 0 {
			k := min(g.skip, int64(len(rest)))
			g.skip -= k
			rest = rest[k:]
			continue
		}
		k := min(g.want-len(g.head), len(rest))
		g.head, rest = append(g.head, rest[:k]...), rest[k:]
		if len(g.head) == g.want {
			if err := g.next(g.head); err != nil {
				return 0, err
			}
		}
	}
	return n, err
}

// expect says what comes: bytes that do not matter, then some for next.
func (g *xzGuard) expect(skip int64, want int, next func([]byte) error) {
	g.skip, g.want, g.head, g.next = skip, want, g.head[:0], next
}

// stream begins a stream, or there is padding.
func (g *xzGuard) stream(head []byte) error {
	if binary.LittleEndian.Uint32(head) == 0 {
		g.expect(0, 4, g.stream)
		return nil
	}
	g.expect(0, 8, g.streamFlags)
	return nil
}

func (g *xzGuard) streamFlags(head []byte) error {
	g.check = [...]int64{0, 4, 8, 16, 32, 64}[(head[3]&0xf+2)/3]
	g.expect(0, 1, g.block)
	return nil
}

// block begins a block, or the index.
func (g *xzGuard) block(head []byte) error {
	if head[0] == 0 {
		g.size = 1
		g.expect(0, 1, g.indexLength)
		return nil
	}
	g.expect(0, int(head[0])*4+3, g.blockHeader)
	return nil
}

var errBlockHeader = errors.New("invalid header of a block")

func (g *xzGuard) blockHeader(head []byte) error {
	flags, rest := head[0], head[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(rest)
		rest = rest[max(n, 0):]
		return v
	}
	for _, there := range []byte{0x40, 0x80} { // lengths, packed and not
		if flags&there != 0 {
			number()
		}
	}
	for range flags&3 + 1 {
		id, length := number(), number()
		if length > uint64(len(rest)) || id == lzma2 && length != 1 {
			return errBlockHeader
		}
		if id == lzma2 {
			if window := (2 | int64(rest[0]&1)) << (rest[0]>>1&0x1f + 11); window > maxWindow {
				return fmt.Errorf("window size exceeded: %d bytes are more than %d", window, maxWindow)
			}
		}
		rest = rest[length:]
	}
	g.size = 0
	g.expect(0, 1, g.chunk)
	return nil
}

// chunk begins a part of a block, or ends it.
func (g *xzGuard) chunk(head []byte) error {
	g.size++
	switch c := head[0]; {
	case c == 0:
		g.expect(padding(g.size)+g.check, 1, g.block)
	case c < 0x80:
		g.expect(0, 2, g.chunkSize)
	case c < 0xc0:
		g.expect(2, 2, g.chunkSize)
		g.size += 2
	default:
		g.expect(2, 3, g.chunkSize)
		g.size += 2
	}
	return nil
}

func (g *xzGuard) chunkSize(head []byte) error {
	length := int64(binary.BigEndian.Uint16(head)) + 1
	g.size += int64(len(head)) + length
	g.expect(length, 1, g.chunk)
	return nil
}

// indexLength reads how many records the index has. Each has two numbers.
func (g *xzGuard) indexLength(head []byte) error {
	g.size++
	if head[len(head)-1] >= 0x80 && len(head) < binary.MaxVarintLen64 {
		g.want++
		return nil
	}
	records, _ := binary.Uvarint(head)
	g.left = 2 * records
	g.index()
	return nil
}

func (g *xzGuard) indexNumber(head []byte) error {
	g.size++
	if head[0] < 0x80 {
		g.left--
	}
	g.index()
	return nil
}

// index goes on with the index. After it come its check and the end of the stream.
func (g *xzGuard) index() {
	if g.left > 0 {
		g.expect(0, 1, g.indexNumber)
		return
	}
	g.expect(padding(g.size)+4+12, 4, g.stream)
}

func padding(n int64) int64 { return -n & 3 }
