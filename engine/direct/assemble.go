package direct

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
)

// errChanged is a file on disk that is not the one that was unpacked.
var errChanged = errors.New("the file is not the one that was unpacked")

// assembler puts a layer's tar together again.
type assembler struct {
	split   *os.File
	gz      *gzip.Reader
	entries tarsplit.Unpacker
	files   folders

	rest  []byte   // of a piece of the tar that is being read
	file  *os.File // that is being read; nil: none
	entry *tarsplit.Entry
	left  int64 // bytes of file still to come
	sum   hash.Hash64
}

// newAssembler opens a layer. It takes over the folders.
func newAssembler(splitPath string, files folders) (*assembler, error) {
	split, err := os.Open(splitPath)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	gz, err := gzip.NewReader(split)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", splitPath, err), split.Close(), files.close())
	}
	return &assembler{
		split: split, gz: gz, entries: tarsplit.NewJSONUnpacker(gz), files: files, sum: crc64.New(tarsplit.CRCTable),
	}, nil
}

// Read reads on in the tar.
func (a *assembler) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		some, err := a.read(p[n:])
		n += some
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// read reads from what is open, or opens what comes next.
func (a *assembler) read(p []byte) (int, error) {
	switch {
	case len(a.rest) > 0:
		n := copy(p, a.rest)
		a.rest = a.rest[n:]
		return n, nil
	case a.file != nil:
		return a.readFile(p)
	}
	entry, err := a.entries.Next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		return 0, fmt.Errorf("%s: %w", a.split.Name(), err)
	}
	switch {
	case entry.Type == tarsplit.SegmentType:
		a.rest = entry.Payload
	case entry.Type == tarsplit.FileType && entry.Size > 0:
		if a.file, err = a.files.open(entry.GetName()); err != nil {
			return 0, err
		}
		a.entry, a.left = entry, entry.Size
		a.sum.Reset()
	}
	return 0, nil
}

func (a *assembler) readFile(p []byte) (int, error) {
	n, err := a.file.Read(p[:min(int64(len(p)), a.left)])
	a.sum.Write(p[:n])
	a.left -= int64(n)
	switch {
	case a.left == 0:
		return n, a.closeFile()
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("%q: %w", a.entry.GetName(), errChanged)
	}
	return n, err
}

// closeFile ends a file that was read whole.
func (a *assembler) closeFile() error {
	file := a.file
	a.file = nil
	if err := file.Close(); err != nil {
		return err
	}
	if !bytes.Equal(a.sum.Sum(nil), a.entry.Payload) {
		return fmt.Errorf("%q: %w", a.entry.GetName(), errChanged)
	}
	return nil
}

// Close closes what is open.
func (a *assembler) Close() error {
	var err error
	if a.file != nil {
		err = a.file.Close()
	}
	return errors.Join(err, a.gz.Close(), a.split.Close(), a.files.close())
}
