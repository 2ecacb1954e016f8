package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
)

// upgrade makes a call with that flag and returns the connection with the id of the job from the reply that confirms it.
func (w *world) upgrade(t testing.TB, method, in string) (*daemon.Conn, string) {
	t.Helper()
	c := w.Dial(t)
	if err := c.Send(method, in, "upgrade"); err != nil {
		t.Fatal(err)
	}
	return c, confirmed(t, c)
}

// confirmed reads the reply that confirms an upgrade.
func confirmed(t testing.TB, c *daemon.Conn) string {
	t.Helper()
	r, err := c.Read()
	job := r.Text("job")
	if want := fmt.Sprintf(`{"parameters":{"job":%q}}`, job); err != nil || job == "" || string(r.Raw) != want {
		t.Fatalf("it confirms with %s, %v", r.Raw, err)
	}
	return job
}

// last reads the reply that follows an upload, and wants nothing behind it.
func last(t testing.TB, c *daemon.Conn) daemon.Reply {
	t.Helper()
	r, err := c.Read()
	if err != nil || r.Continues {
		t.Fatalf("after the upload: %s, %v", r.Raw, err)
	}
	if rest, err := c.Rest(); err != nil || len(rest) != 0 {
		t.Errorf("behind the last reply: %q, %v", rest, err)
	}
	return r
}

// ended waits for a job and returns its state and the name of its error.
func (w *world) ended(t testing.TB, job string) (state, name string) {
	t.Helper()
	var out struct{ Job struct{ State, Error string } }
	w.Call(t, "io.imaged.jobs.Wait", fmt.Sprintf(`{"job":%q}`, job)).Into(t, &out)
	return out.Job.State, out.Job.Error
}

// saved is an archive of the world's image.
func (w *world) saved(t testing.TB) []byte {
	t.Helper()
	path := w.expand("$DIR/$NEW")
	in := w.expand(`{"names":["$IMAGE"],"format":"docker_archive","path":"` + path + `"}`)
	w.Call(t, "io.imaged.transfers.Save", in).Into(t, new(any))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestUpgradedDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := w.saved(t)
	c, job := w.upgrade(t, "io.imaged.transfers.Save", w.expand(`{"names":["$IMAGE"],"format":"docker_archive"}`))
	got, err := c.Rest()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; a file gets other %d", len(got), err, len(want))
	}
	if state, name := w.ended(t, job); state != "done" {
		t.Errorf("the job is %s: %s", state, name)
	}

	// An error comes after the confirming reply: the client asks the job for it.
	c, job = w.upgrade(t, "io.imaged.transfers.Save", `{"names":["localhost/nothing:1"]}`)
	if got, err := c.Rest(); err != nil || len(got) != 0 {
		t.Errorf("of a missing image come %q, %v", got, err)
	}
	if state, name := w.ended(t, job); state != "failed" || !strings.Contains(name, "ImageNotFound") {
		t.Errorf("the job of a missing image is %s: %s", state, name)
	}
}

func TestUpgradedUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	archive, root := w.saved(t), []byte(rootfs(t))
	for _, chunk := range []int{1, 511, len(archive)} {
		c, job := w.upgrade(t, "io.imaged.transfers.Load", `{}`)
		pieces := min(len(archive), 2000*chunk) // not all: that would take long
		send(t, c, archive[:pieces], chunk)
		send(t, c, archive[pieces:], len(archive))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var got struct{ IDs, Names []string }
		last(t, c).Into(t, &got)
		if len(got.IDs) != 1 || got.IDs[0] != w.values["ID"] || len(got.Names) != 1 || got.Names[0] != w.values["IMAGE"] {
			t.Errorf("in pieces of %d: %+v", chunk, got)
		}
		if state, name := w.ended(t, job); state != "done" {
			t.Errorf("the job is %s: %s", state, name)
		}
	}

	// The bytes may come with the call, before it is confirmed.
	c := w.Dial(t)
	call := append([]byte(daemon.Message("io.imaged.transfers.Import", `{"name":"localhost/imported:1"}`, "upgrade")), 0)
	if _, err := c.Write(append(call, root...)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	confirmed(t, c)
	if r := last(t, c); len(r.Text("id")) != 64 {
		t.Errorf("%s", r.Raw)
	}
}

// send writes pieces of a size.
func send(t testing.TB, c *daemon.Conn, content []byte, size int) {
	t.Helper()
	for len(content) > 0 {
		n := min(size, len(content))
		if _, err := c.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		content = content[n:]
	}
}

func TestUpgradeFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	archive := w.saved(t)
	before := w.Descriptors(t)
	for name, content := range map[string][]byte{
		"nothing": nil, "garbage": bytes.Repeat([]byte("garbage\n"), 1<<17), "half an archive": archive[:len(archive)/2],
	} {
		for _, method := range []string{"Load", "Import"} {
			c, job := w.upgrade(t, "io.imaged.transfers."+method, `{}`)
			// The daemon need not read what it has refused.
			if _, err := io.Copy(c.UnixConn, bytes.NewReader(content)); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
			_ = c.CloseWrite() // it may be gone already
			if r := last(t, c); r.Error != "io.imaged.transfers.InvalidArchive" {
				t.Errorf("%s of %s: %s", method, name, r.Raw)
			}
			if state, _ := w.ended(t, job); state != "failed" {
				t.Errorf("%s of %s: the job is %s", method, name, state)
			}
		}
	}
	for method, in := range map[string]string{
		"Save":   `{"names":["$ID"],"path":"$DIR/$NEW"}`,
		"Load":   `{"path":"$DIR/rootfs.tar"}`,
		"Import": `{"url":"http://127.0.0.1:1/"}`,
	} {
		if r := w.Call(t, "io.imaged.transfers."+method, w.expand(in), "upgrade"); r.Error != "org.varlink.service.InvalidParameter" {
			t.Errorf("%s %s with upgrade: %s", method, in, r.Raw)
		}
	}

	// Hanging up is the end of the job, on either way.
	upload, job := w.upgrade(t, "io.imaged.transfers.Load", `{}`)
	send(t, upload, archive[:1000], 1000)
	_ = upload.Close()
	if state, name := w.ended(t, job); state != "cancelled" && state != "failed" {
		t.Errorf("after a broken off upload the job is %s: %s", state, name)
	}
	download, job := w.upgrade(t, "io.imaged.transfers.Save", w.expand(`{"names":["$ID"]}`))
	_ = download.Close()
	w.ended(t, job)
	if err := w.Quiet(t); err != nil {
		t.Error(err)
	}
	daemon.Await(t, "the daemon has no more descriptors than before", func() bool { return w.Descriptors(t) <= before })
}
