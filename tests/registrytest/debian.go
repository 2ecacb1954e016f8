package registrytest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// debianBinary is the program of the package docker-registry.
const debianBinary = "docker-registry"

// DebianOptions describe a registry run by Debian's docker-registry. The zero
// value is one on plain HTTP that lets everybody in.
type DebianOptions struct {
	// TLS serves HTTPS, with a certificate of a CA made for this registry.
	TLS bool
	// Username and Password are asked for with every request (htpasswd); an
	// empty Username lets everybody in.
	Username, Password string
}

// DebianRegistry is a running docker-registry.
type DebianRegistry struct {
	target
	certDir string

	mu  sync.Mutex // guards log
	log strings.Builder
}

// Debian runs Debian's docker-registry on loopback until the test ends. Without
// the program the test is skipped, or fails where CI=true says that everything
// was installed.
func Debian(t testing.TB, opts DebianOptions) *DebianRegistry {
	t.Helper()
	path, err := exec.LookPath(debianBinary)
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatalf("registrytest: %s is missing: apt-get install docker-registry", debianBinary)
	case err != nil:
		t.Skipf("%s is missing: apt-get install docker-registry", debianBinary)
	}
	r := &DebianRegistry{certDir: t.TempDir()}
	config, err := r.configure(t.TempDir(), opts)
	if err != nil {
		t.Fatalf("registrytest: %v", err)
	}
	r.run(t, exec.Command(path, "serve", config))
	r.username, r.password = opts.Username, opts.Password
	r.base = "http://" + r.host
	transport := &http.Transport{DisableKeepAlives: true}
	r.transport = transport
	if opts.TLS {
		r.base = "https://" + r.host
		transport.TLSClientConfig = r.clientTLS(t)
	} else {
		r.certDir = ""
	}
	return r
}

// CertDir is what [Registry.CertDir] is.
func (r *DebianRegistry) CertDir() string { return r.certDir }

// Log returns what the registry has written to its log so far.
func (r *DebianRegistry) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// configure writes the registry's configuration into dir and returns its path.
func (r *DebianRegistry) configure(dir string, opts DebianOptions) (string, error) {
	var config strings.Builder
	// JSON strings are YAML strings, whatever is in a path.
	fmt.Fprintf(&config, "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: %q\n  delete:\n    enabled: true\n",
		filepath.Join(dir, "storage"))
	fmt.Fprintf(&config, "http:\n  addr: 127.0.0.1:0\n")
	if opts.TLS {
		if _, err := writeCertificates(r.certDir, nil); err != nil {
			return "", err
		}
		fmt.Fprintf(&config, "  tls:\n    certificate: %q\n    key: %q\n",
			filepath.Join(r.certDir, certFile), filepath.Join(r.certDir, keyFile))
	}
	if opts.Username != "" {
		users := filepath.Join(dir, "htpasswd")
		hash, err := bcrypt.GenerateFromPassword([]byte(opts.Password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("hash password: %w", err)
		}
		if err := os.WriteFile(users, fmt.Appendf(nil, "%s:%s\n", opts.Username, hash), 0o600); err != nil {
			return "", fmt.Errorf("write htpasswd: %w", err)
		}
		fmt.Fprintf(&config, "auth:\n  htpasswd:\n    realm: registrytest\n    path: %q\n", users)
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return path, nil
}

// run starts the registry, waits until it says where it listens, and stops it
// when the test ends.
func (r *DebianRegistry) run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatalf("registrytest: %v", err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	// The registry must not outlive a test process that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	if err := errors.Join(err, writer.Close()); err != nil {
		t.Fatalf("registrytest: start %s: %v", debianBinary, err)
	}
	host := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.readLog(reader, host)
	}()
	t.Cleanup(func() {
		// An error says that it is gone already.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		<-done
		_ = reader.Close()
	})
	select {
	case r.host = <-host:
	case <-done:
		t.Fatalf("registrytest: %s ended: %s", debianBinary, r.Log())
	}
}

// listening is the line in which docker-registry tells its address.
var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// readLog keeps the log until its end, and sends the address found in it.
func (r *DebianRegistry) readLog(log io.Reader, host chan<- string) {
	lines := bufio.NewScanner(log)
	found := false
	for lines.Scan() {
		r.mu.Lock()
		r.log.WriteString(lines.Text() + "\n")
		r.mu.Unlock()
		if match := listening.FindStringSubmatch(lines.Text()); match != nil && !found {
			found = true
			host <- match[1]
		}
	}
}

// clientTLS trusts the registry's CA and nobody else.
func (r *DebianRegistry) clientTLS(t testing.TB) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(r.certDir, caFile))
	if err != nil {
		t.Fatalf("registrytest: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("registrytest: no certificate in ca.crt")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
