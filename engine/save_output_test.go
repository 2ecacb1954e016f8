package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

func TestSaveNeedsNoCopy(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	if err := os.RemoveAll(filepath.Join(p.dirs.Tmp, temporary(t, p))); err != nil { // whoever wants to copy fails
		t.Fatal(err)
	}
	for _, o := range []engine.SaveOptions{
		{Format: engine.DockerArchive}, {AcceptUncompressed: true}, {Format: engine.DockerDir}, {Format: engine.OCIDir, AcceptUncompressed: true},
	} {
		p.saveBytes(t, o, "saved:1")
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.save(t, engine.SaveOptions{Output: out}, "saved:1"); err != nil {
		t.Errorf("compressed, to a file: %v", err)
	}
}

// TestSaveOfWhatOthersRemove lets another program, which knows nothing of our locks, remove the image.
func TestSaveOfWhatOthersRemove(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	// The upper layer is not opened before most of the lower one is written.
	layers := [][]byte{bigTar(t, "lower/", 4<<20), bigTar(t, "upper/", 1<<10)}
	id := enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: layers})
	enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{otherName}, Tars: layers[:1]}) // keeps the lower one
	var once sync.Once
	out := writerFunc(func(b []byte) (int, error) {
		once.Do(func() {
			if _, err := p.Store().DeleteImage(id, true); err != nil {
				t.Error(err)
			}
		})
		return len(b), nil
	})
	_, err := p.save(t, engine.SaveOptions{Format: engine.DockerArchive, Output: out}, "saved:1")
	wantFailure(t, "save what goes meanwhile", err, "ImageNotFound")
}

// TestFailedSaveIsNoArchive saves an image, and then one of which a layer is damaged: what was written must not pass for
// an archive of the first alone.
func TestFailedSaveIsNoArchive(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	img, err := p.Store().Image(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	split := filepath.Join(p.dirs.Root, "overlay-layers", img.TopLayer+".tar-split.gz")
	if err := os.WriteFile(split, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	_, err = p.save(t, engine.SaveOptions{Format: engine.DockerArchive, Output: &stream}, "saved:1", "other")
	wantFailure(t, "save to a stream", err, "Failed")
	if bytes.Contains(stream.Bytes(), []byte("manifest.json")) {
		t.Error("the stream is a whole archive")
	}
	path := filepath.Join(t.TempDir(), "out")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.save(t, engine.SaveOptions{Format: engine.DockerArchive, Output: file}, "saved:1", "other")
	wantFailure(t, "save to a file", err, "Failed")
	if info, err := os.Stat(path); err != nil || info.Size() > 0 {
		t.Errorf("the file has something: %+v, %v", info, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func temporary(t testing.TB, p puller) string {
	t.Helper()
	entries, err := os.ReadDir(p.dirs.Tmp)
	if err != nil || len(entries) != 1 {
		t.Fatalf("temporary folders: %v, %v", entries, err)
	}
	return entries[0].Name()
}

func TestSavePath(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	dir := t.TempDir()
	o := engine.SaveOptions{Path: filepath.Join(dir, "a:b"), AllowPath: true}
	if _, err := p.save(t, o, "saved:1"); err != nil {
		t.Fatal(err)
	}
	wantMode(t, o.Path, 0o644)
	before, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.save(t, o, "other")
	wantFailure(t, "save over a file", err, "InvalidParameter")
	if after, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file was changed: %v", err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIDir} {
		for _, path := range []string{filepath.Join(dir, "link"), dir} {
			_, err = p.save(t, engine.SaveOptions{Path: path, AllowPath: true, Format: format}, "other")
			wantFailure(t, "save over "+path, err, "InvalidParameter")
		}
		_, err = p.save(t, engine.SaveOptions{Path: filepath.Join(dir, "failed"), AllowPath: true, Format: format}, "missing")
		wantFailure(t, "save what is not there", err, "ImageNotFound")
	}
	p.idle(t)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("in the folder is now: %v, %v", entries, err)
	}
}

func TestSaveRefusals(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	enginetest.AddList(t, p.Store(), []string{"localhost/list:latest"}, ids[0])
	enginetest.AddList(t, p.Store(), []string{"localhost/empty:latest"})
	reader, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	buf := new(bytes.Buffer)
	one := []string{"saved:1"}
	tests := []struct {
		names []string
		o     engine.SaveOptions
		want  string
	}{
		{nil, engine.SaveOptions{Output: buf}, "InvalidParameter"},
		{[]string{""}, engine.SaveOptions{Output: buf}, "InvalidParameter"},
		{one, engine.SaveOptions{}, "InvalidParameter"},
		{one, engine.SaveOptions{Output: buf, Path: "/x", AllowPath: true}, "InvalidParameter"},
		{one, engine.SaveOptions{Path: "x", AllowPath: true}, "InvalidParameter"},
		{one, engine.SaveOptions{Path: "/x"}, "PermissionDenied"},
		{one, engine.SaveOptions{Output: buf, Format: "zip"}, "InvalidFormat"},
		{[]string{"saved:1", "other"}, engine.SaveOptions{Output: buf}, "InvalidFormat"},
		{one, engine.SaveOptions{Output: buf, Compress: true}, "InvalidParameter"},
		{one, engine.SaveOptions{Output: buf, Tags: []string{"A"}}, "InvalidReference"},
		{one, engine.SaveOptions{Output: buf, Tags: []string{"a"}, Format: engine.DockerDir}, "InvalidParameter"},
		{[]string{"saved:1", "other"}, engine.SaveOptions{Output: buf, Tags: []string{"a"}, Format: engine.DockerArchive}, "InvalidParameter"},
		{one, engine.SaveOptions{Output: reader}, "InvalidParameter"},
		{[]string{"missing"}, engine.SaveOptions{Output: buf}, "ImageNotFound"},
		{[]string{"empty"}, engine.SaveOptions{Output: buf}, "ImageNotFound"},
	}
	for _, test := range tests {
		_, err := p.save(t, test.o, test.names...)
		wantFailure(t, fmt.Sprintf("save %q with %+v", test.names, test.o), err, test.want)
	}
	for kind, open := range unusableSockets(t) {
		_, err := p.save(t, engine.SaveOptions{Output: open()}, one...)
		wantFailure(t, "save to a socket that "+kind, err, "InvalidParameter")
	}
	if buf.Len() > 0 {
		t.Errorf("%d bytes were written", buf.Len())
	}
	checkOCI(t, untar(t, p.saveBytes(t, engine.SaveOptions{}, "list")), "localhost/list:latest")
}

func TestSaveToAPipeThatNobodyReads(t *testing.T) {
	t.Parallel()
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIArchive} {
		for kind, open := range map[string]func(testing.TB) (io.WriteCloser, io.Closer){"pipe": pipe, "socket": socket} {
			t.Run(kind+" "+string(format), func(t *testing.T) {
				t.Parallel()
				p := openPuller(t)
				enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: [][]byte{bigTar(t, "d/", 8<<20)}})
				out, in := open(t)
				w, err := p.Save(t.Context(), []string{"saved:1"}, engine.SaveOptions{Format: format, AcceptUncompressed: true, Output: out})
				if err != nil {
					t.Fatal(err)
				}
				untilTransferring(t, w)
				// Nobody waits for the reader: the store can be changed, and its layers read.
				enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{otherName}, Layers: []string{"new"}})
				p.saveBytes(t, engine.SaveOptions{}, "saved:1")
				if err := p.Tag(t.Context(), otherName, []string{"localhost/more:latest"}); err != nil {
					t.Error(err)
				}
				w.Close() // the last watcher leaves: it is cancelled
				p.idle(t)
				if err := in.Close(); err != nil {
					t.Error(err)
				}
				if _, err := p.Remove(t.Context(), []string{"saved:1"}, engine.RemoveOptions{}); err != nil {
					t.Errorf("remove after the cancelled save: %v", err)
				}
			})
		}
	}
}

func pipe(t testing.TB) (io.WriteCloser, io.Closer) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return w, r
}

func socket(t testing.TB) (io.WriteCloser, io.Closer) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.(*net.UnixConn).File()
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return file, peer
}

func untilTransferring(t testing.TB, w *jobs.Watch) {
	t.Helper()
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Progress != nil && u.Progress.Phase == progress.Transferring && u.Progress.Done > 0 {
			return
		}
	}
	_, err := w.Result(t.Context())
	t.Fatalf("it ended before: %v", err)
}

func TestSaveToAReaderThatHangsUp(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: [][]byte{bigTar(t, "d/", 8<<20)}})
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIArchive} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		watch, err := p.Save(t.Context(), []string{"saved:1"}, engine.SaveOptions{Format: format, AcceptUncompressed: true, Output: w})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = watch.Result(t.Context())
		wantFailure(t, "save to a reader that hangs up", err, "Cancelled")
		watch.Close()
	}
}

func TestSaveToAFullDisk(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	_, err = p.save(t, engine.SaveOptions{Output: full}, "saved:1")
	wantFailure(t, "save to a full disk", err, "StorageFull")
}

func TestSaveOfADamagedLayerFails(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	img := p.image(t, ids[0])
	if err := os.WriteFile(filepath.Join(p.dirs.Root, "overlay", img.TopLayer, "diff/layer-1/file"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIArchive, engine.DockerDir} {
		_, err := p.save(t, engine.SaveOptions{Format: format, Output: new(bytes.Buffer)}, "saved:1")
		wantFailure(t, "save a damaged layer", err, "Failed")
		if err == nil || !strings.Contains(err.Error(), "layer-1/file") {
			t.Errorf("the file is not named: %v", err)
		}
	}
}

func TestSaveClosesItsOutput(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	for _, name := range []string{"saved:1", "missing", ""} {
		closed := make(chan struct{})
		_, err := p.save(t, engine.SaveOptions{Output: closer{func() { close(closed) }}}, name)
		if (err == nil) != (name == "saved:1") {
			t.Errorf("save %q: %v", name, err)
		}
		<-closed
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Save(ctx, []string{"saved:1"}, engine.SaveOptions{Output: io.Discard})
	if _, ok := errors.AsType[*errdefs.Cancelled](err); !ok {
		t.Errorf("save with a context that has ended: %v", err)
	}
}

type closer struct{ close func() }

func (c closer) Write(p []byte) (int, error) { return len(p), nil }
func (c closer) Close() error                { c.close(); return nil }
