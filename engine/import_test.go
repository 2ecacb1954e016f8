package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

// importTar imports and returns how it ended.
func (p puller) importTar(t testing.TB, o engine.ImportOptions) (string, error) {
	t.Helper()
	w, err := p.Import(t.Context(), o)
	if err != nil {
		return "", err
	}
	defer w.Close()
	value, err := w.Result(t.Context())
	if err != nil {
		return "", err
	}
	return value.(engine.ImportResult).ID, nil
}

// rootfs is a small root file system.
func rootfs(t testing.TB, text string) []byte {
	t.Helper()
	return archivetest.Tar(t, archivetest.Entry{Name: "bin/"}, archivetest.Entry{Name: "bin/sh", Data: []byte(text), Mode: 0o755})
}

func TestImportEveryWay(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	for _, compression := range archivetest.Compressions {
		data := archivetest.Compress(t, compression, rootfs(t, compression))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
		defer server.Close()
		a, b, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = b.Write(data)
			b.Close()
		}()
		for way, o := range map[string]engine.ImportOptions{
			"file":   {Input: archivetest.WriteFile(t, data)},
			"pipe":   {Input: archivetest.Pipe(t, data)},
			"socket": {Input: a},
			"path":   {Path: archivetest.WriteFile(t, data).Name(), AllowPath: true},
			"url":    {URL: server.URL},
		} {
			o.Name = "localhost/" + way + ":" + strings.TrimSpace("v"+compression)
			id, err := p.importTar(t, o)
			if err != nil {
				t.Errorf("%s of %q: %v", way, compression, err)
				continue
			}
			img := p.image(t, id)
			if diff := cmp.Diff([]string{o.Name}, img.Names); diff != "" {
				t.Errorf("%s of %q: names %s", way, compression, diff)
			}
			layer, err := p.Store().Layer(img.TopLayer)
			if err != nil || layer.UncompressedSize != int64(len(rootfs(t, compression))) {
				t.Errorf("%s of %q: layer %+v, %v", way, compression, layer, err)
			}
		}
	}
	checkStore(t, p)
}

func socketPair() (reader, writer net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if writer, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	reader, err = l.Accept()
	return reader, writer, err
}

func TestImportChanges(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	id, err := p.importTar(t, engine.ImportOptions{
		Input: archivetest.WriteFile(t, rootfs(t, "x")), Message: "from a tar",
		Platform: &names.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
		Changes: []string{
			`CMD ["/bin/sh", "-c", "true"]`, "ENTRYPOINT /bin/entry", "ENV A=1", "EXPOSE 80/tcp", "LABEL l=v",
			"ONBUILD RUN true", "STOPSIGNAL SIGINT", "USER nobody", "VOLUME /data", "WORKDIR /work",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Store().ImageBigData(id, "sha256:"+id)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		OS, Architecture, Variant string
		Config                    map[string]any
		History                   []struct{ Comment string }
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"Cmd": []any{"/bin/sh", "-c", "true"}, "Entrypoint": []any{"/bin/sh", "-c", "/bin/entry"}, "Env": []any{"A=1"},
		"ExposedPorts": map[string]any{"80/tcp": map[string]any{}}, "Labels": map[string]any{"l": "v"},
		"OnBuild": []any{"RUN true"}, "StopSignal": "2", "User": "nobody",
		"Volumes": map[string]any{"/data": map[string]any{}}, "WorkingDir": "/work",
	}
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if got.OS+got.Architecture+got.Variant != "linuxarm64v8" || len(got.History) != 1 || got.History[0].Comment != "from a tar" {
		t.Errorf("%+v", got)
	}
}

// TestImportIsNeverEmptyOrPartial cuts the tar where nothing but its end mark is missing, and elsewhere.
func TestImportIsNeverEmptyOrPartial(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	whole := rootfs(t, "x")
	zip := archivetest.Compress(t, "gzip", whole)
	for name, data := range map[string][]byte{
		"nothing": {}, "header alone": whole[:512], "without end mark": whole[:len(whole)-1024], "one byte": whole[:1],
		"half of a gzip": zip[:len(zip)/2], "no gzip trailer": zip[:len(zip)-8], "junk": []byte(strings.Repeat("junk", 500)),
		"gzip twice": archivetest.Compress(t, "gzip", zip),
	} {
		for way, in := range map[string]io.ReadCloser{"file": archivetest.WriteFile(t, data), "pipe": archivetest.Pipe(t, data)} {
			if _, err := p.importTar(t, engine.ImportOptions{Input: in, Name: "x"}); errdefs.Name(err) != "InvalidArchive" {
				t.Errorf("%s from a %s: %v", name, way, err)
			}
		}
	}
	p.wantNothing(t)
}

func TestImportKeepsInside(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	s := newSentinel(t, p)
	for name, entries := range hostileLayers(filepath.Join(s.dir, "secrets")) {
		id, err := p.importTar(t, engine.ImportOptions{Input: archivetest.WriteFile(t, archivetest.Tar(t, entries...))})
		s.check(t, p)
		if err == nil {
			if _, err := p.Remove(t.Context(), []string{id}, engine.RemoveOptions{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		p.wantNothing(t)
	}
}

func TestImportFromServersThatFail(t *testing.T) {
	t.Parallel()
	p := openPuller(t, func(o *engine.Options) { o.Archives = archives.Limits{Bytes: 1 << 20} })
	data := rootfs(t, "x")
	mux := http.NewServeMux()
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)+1))
		_, _ = w.Write(data)
	})
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) })
	server := httptest.NewServer(mux)
	defer server.Close()
	secret := strings.Replace(server.URL, "http://", "http://user:SECRET@", 1)
	for path, want := range map[string]string{
		"/missing": "RegistryUnreachable", "/loop": "RegistryUnreachable", "/file": "RegistryUnreachable", "/short": "RegistryUnreachable",
		"/empty": "InvalidArchive", "/endless": "LimitExceeded",
	} {
		_, err := p.importTar(t, engine.ImportOptions{URL: secret + path})
		if errdefs.Name(err) != want || strings.Contains(fmt.Sprint(err), "SECRET") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for url, want := range map[string]string{
		"ftp://host/x": "InvalidParameter", "file:///etc/passwd": "InvalidParameter", "http://": "InvalidParameter", "http://[": "InvalidParameter",
		"http://127.0.0.1:1/x": "RegistryUnreachable",
	} {
		if _, err := p.importTar(t, engine.ImportOptions{URL: url}); errdefs.Name(err) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
	p.wantNothing(t)
	if _, err := p.importTar(t, engine.ImportOptions{URL: server.URL + "/moved"}); err != nil {
		t.Error(err)
	}
	for _, job := range p.Jobs().List(0) {
		if strings.Contains(job.Subject, "SECRET") {
			t.Errorf("job %s shows %s", job.ID, job.Subject)
		}
	}
}

func TestImportCancelled(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	begun := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
	}))
	defer server.Close()
	w, err := p.Import(t.Context(), engine.ImportOptions{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	w.Close()
	if _, err := w.Result(t.Context()); errdefs.Name(err) != "Cancelled" {
		t.Errorf("error is %v", err)
	}
	p.wantNothing(t)
}

func TestUploadsWantAReadableDescriptor(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	data := archivetest.WriteFile(t, rootfs(t, "x")).Name()
	for _, c := range []struct {
		path  string
		flags int
	}{
		{data, os.O_WRONLY},
		{data, unix.O_PATH},
		{filepath.Dir(data), os.O_RDONLY},
		{"/dev/zero", os.O_RDONLY},
	} {
		open := func() *os.File {
			f, err := os.OpenFile(c.path, c.flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		_, err := p.importTar(t, engine.ImportOptions{Input: open()})
		wantFailure(t, fmt.Sprintf("import %s, opened with %#x", c.path, c.flags), err, "InvalidParameter")
		_, err = p.load(t, engine.LoadOptions{Input: open()})
		wantFailure(t, fmt.Sprintf("load %s, opened with %#x", c.path, c.flags), err, "InvalidParameter")
	}
	for kind, open := range unusableSockets(t) {
		_, err := p.load(t, engine.LoadOptions{Input: open()})
		wantFailure(t, "load from a socket that "+kind, err, "InvalidParameter")
	}
	p.wantNothing(t)
}

// unusableSockets make sockets through which no bytes flow.
func unusableSockets(t testing.TB) map[string]func() *os.File {
	socket := func(kind int, prepare func(fd int) error) func() *os.File {
		return func() *os.File {
			t.Helper()
			fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
			if err == nil && prepare != nil {
				err = prepare(fd)
			}
			if err != nil {
				t.Fatal(err)
			}
			return os.NewFile(uintptr(fd), "socket")
		}
	}
	listen := func(fd int) error {
		return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{}), unix.Listen(fd, 1)) // at an abstract address
	}
	return map[string]func() *os.File{
		"listens": socket(unix.SOCK_STREAM, listen), "keeps messages": socket(unix.SOCK_SEQPACKET, nil), "has datagrams": socket(unix.SOCK_DGRAM, nil),
	}
}

func TestImportRefusesBadParameters(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	file := func() *os.File { return archivetest.WriteFile(t, rootfs(t, "x")) }
	for _, c := range []struct {
		o    engine.ImportOptions
		want string
	}{
		{engine.ImportOptions{}, "InvalidParameter"},
		{engine.ImportOptions{Input: file(), URL: "http://host/"}, "InvalidParameter"},
		{engine.ImportOptions{Input: file(), Changes: []string{"RUN true"}}, "InvalidParameter"},
		{engine.ImportOptions{Input: file(), Changes: []string{"CMD"}}, "InvalidParameter"},
		{engine.ImportOptions{Input: file(), Name: "UPPER"}, "InvalidReference"},
		{engine.ImportOptions{Path: file().Name()}, "PermissionDenied"},
		{engine.ImportOptions{Path: "relative", AllowPath: true}, "InvalidParameter"},
		{engine.ImportOptions{Path: "/dev/zero", AllowPath: true}, "InvalidParameter"},
		{engine.ImportOptions{Path: p.dirs.Config, AllowPath: true}, "InvalidParameter"},
	} {
		if _, err := p.importTar(t, c.o); errdefs.Name(err) != c.want {
			t.Errorf("%+v: want %s, got %v", c.o, c.want, err)
		}
	}
	writeFile(t, filepath.Join(p.dirs.Config, "policy.json"),
		`{"default":[{"type":"insecureAcceptAnything"}],"transports":{"tarball":{"":[{"type":"reject"}]}}}`)
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.importTar(t, engine.ImportOptions{Input: file()}); errdefs.Name(err) != "PolicyRejected" {
		t.Errorf("policy: %v", err)
	}
	p.wantNothing(t)
}
