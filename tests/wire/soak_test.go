package wire_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// soaking is a world that is called for long.
type soaking struct {
	*world
	slow *registrytest.Registry // its pulls never end
	// looks are the methods that neither change anything nor reach beyond the daemon, works the others.
	looks, works []method
}

// soakCalls is how many calls there are, by soakClients clients at once.
const (
	soakCalls   = 10_000
	soakClients = 8
)

func newSoaking(t testing.TB) *soaking {
	t.Helper()
	s := &soaking{slow: stall(t), world: newWorldOf(t, daemon.Options{
		Args:  []string{"--log-level", "error", "--limit", "jobs.finished=16"},
		Env:   []string{"GOGC=20"}, // or garbage hides what stays
		Fails: true,
	})}
	archive(t, s.world)
	for _, m := range s.methods {
		switch {
		case m.Name == "SetLogLevel": // it would have the daemon log all
		case strings.HasPrefix(m.full(), "io.imaged.transfers."), slices.Contains([]string{"Tag", "Untag", "Remove", "Prune", "Cancel"}, m.Name):
			s.works = append(s.works, m)
		default:
			s.looks = append(s.looks, m)
		}
	}
	return s
}

// step is a kind of call.
type step struct {
	share int // of all calls, in thousandths
	do    func(t testing.TB, s *soaking, c *daemon.Conn, dice *rand.Rand)
}

func pick[T any](dice *rand.Rand, all []T) T { return all[dice.IntN(len(all))] }

var steps = []step{
	{700, func(t testing.TB, s *soaking, c *daemon.Conn, dice *rand.Rand) {
		s.call(t, c, pick(dice, s.looks), "more")
	}},
	{50, func(t testing.TB, s *soaking, c *daemon.Conn, dice *rand.Rand) {
		s.call(t, c, pick(dice, s.works), pick(dice, [][]string{nil, {"more"}})...)
	}},
	{120, func(t testing.TB, s *soaking, c *daemon.Conn, dice *rand.Rand) { // mistakes
		c.Replies(t, pick(dice, s.methods).full(), pick(dice, []string{`{"nonsense":1}`, `{"name":"nothing:1"}`, `{"name":"\u0000"}`}), "more")
	}},
	{30, func(t testing.TB, s *soaking, c *daemon.Conn, dice *rand.Rand) { // a registry that does not have it, or is not there
		c.Replies(t, "io.imaged.transfers.Pull", pull(pick(dice, []string{s.registry.Ref("nothing:1"), "127.0.0.1:1/x", "a b"}), `"retries":0`), "more")
	}},
	{50, func(t testing.TB, s *soaking, _ *daemon.Conn, dice *rand.Rand) { // what is no message, in whole and in part
		s.leave(t, pick(dice, []string{"{", "{}\x00", "\x00", `{"method":"io.systemd.service.Ping"`, "\xff\x00"}), dice.IntN(3))
	}},
	{30, func(t testing.TB, s *soaking, _ *daemon.Conn, dice *rand.Rand) { // calls whose client leaves at once
		m := pick(dice, s.methods)
		flag := pick(dice, []string{"more", "oneway", "upgrade"})
		s.leave(t, daemon.Message(m.full(), s.expand(rows[m.full()].in), flag)+"\x00", dice.IntN(3))
	}},
	{10, func(t testing.TB, s *soaking, _ *daemon.Conn, dice *rand.Rand) { // a pull that is cancelled, or left
		c := s.Dial(t)
		defer func() { _ = c.Close() }()
		job := startJob(t, c, pull(s.slow.Ref("slow:1")))
		if dice.IntN(2) == 0 {
			s.Call(t, "io.imaged.jobs.Cancel", fmt.Sprintf(`{"job":%q}`, job)) // another may have been faster
			lastReply(t, c)
		}
	}},
	{10, func(t testing.TB, s *soaking, c *daemon.Conn, dice *rand.Rand) { // archives through pipes that break
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		end, in := w, `{"names":["$IMAGE"],"fileDescriptor":0}`
		method := "io.imaged.transfers.Save"
		if dice.IntN(2) == 0 {
			end, method, in = r, "io.imaged.transfers.Load", `{"fileDescriptor":0}`
			if _, err := w.WriteString("no archive"); err != nil {
				t.Error(err)
			}
		}
		err = c.SendFiles(daemon.Message(method, s.expand(in), "more")+"\x00", int(end.Fd()))
		_, _ = r.Close(), w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if reply := lastReply(t, c); reply.Error == "" {
			t.Errorf("%s through a broken pipe: %s", method, reply.Raw)
		}
	}},
}

// leave sends bytes, with descriptors, and hangs up.
func (s *soaking) leave(t testing.TB, message string, files int) {
	t.Helper()
	c := s.Dial(t)
	defer func() { _ = c.Close() }()
	if err := c.SendFiles(message, slices.Repeat([]int{0}, files)...); err != nil {
		t.Error(err)
	}
}

// run makes calls, by several clients at once.
func (s *soaking) run(t *testing.T, name string, calls int) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for client := range soakClients {
			t.Run(strconv.Itoa(client), func(t *testing.T) {
				t.Parallel()
				dice := rand.New(rand.NewPCG(1, uint64(client)))
				c := s.Dial(t)
				for range calls / soakClients {
					if dice.IntN(50) == 0 {
						_ = c.Close()
						c = s.Dial(t)
					}
					n := dice.IntN(1000)
					for _, step := range steps {
						if n -= step.share; n < 0 {
							step.do(t, s, c, dice)
							break
						}
					}
				}
			})
		}
	})
}

// rest is what a daemon has when nobody wants anything of it.
type rest struct {
	descriptors, layers int
	mounts              []string
	memory              int64
}

func (s *soaking) rest(t testing.TB) rest {
	t.Helper()
	if err := s.Quiet(t); err != nil {
		t.Error(err)
	}
	return rest{s.Descriptors(t), len(s.Layers(t)), s.Mounts(t), s.Memory(t)}
}

// TestSoak makes 10,000 mixed calls, many of which fail or are broken off: then the daemon is what it was before.
func TestSoak(t *testing.T) { // not parallel: it measures
	s := newSoaking(t)
	s.run(t, "before", soakCalls/5)
	daemon.Await(t, "no job runs", s.idle(t))
	before := s.rest(t)
	s.run(t, "calls", soakCalls)
	daemon.Await(t, "no job runs", s.idle(t))
	daemon.Await(t, fmt.Sprintf("there are no more descriptors than before, %d", before.descriptors), func() bool {
		return s.Descriptors(t) <= before.descriptors
	})
	after := s.rest(t)
	t.Logf("before %+v, after %+v", before, after)
	if after.layers != before.layers || !slices.Equal(after.mounts, before.mounts) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if after.memory > before.memory+(8<<20) {
		t.Errorf("the daemon has grown from %d to %d MiB", before.memory>>20, after.memory>>20)
	}
	// The runtime writes all goroutines into the log as it dies: there are no more than in a daemon that has done little.
	fresh := newSoaking(t)
	fresh.run(t, "fresh", 100)
	daemon.Await(t, "no job runs", fresh.idle(t))
	want, got := fresh.goroutines(t), s.goroutines(t)
	for made, n := range got {
		if n > want[made] {
			t.Errorf("%d goroutines were made by %s, %d in a fresh daemon", n, made, want[made])
		}
	}
}

func (s *soaking) idle(t testing.TB) func() bool {
	return func() bool {
		r := s.Call(t, "io.imaged.jobs.List", "")
		return !strings.Contains(string(r.Raw), `"state":"running"`)
	}
}

var madeBy = regexp.MustCompile(`(?m)^created by (\S+)`)

// goroutines ends the daemon and counts its goroutines by what made them.
func (s *soaking) goroutines(t testing.TB) map[string]int {
	t.Helper()
	s.Signal(syscall.SIGQUIT)
	_ = s.Wait() // it fails, as it is to
	all := map[string]int{}
	for _, m := range madeBy.FindAllStringSubmatch(s.Log(), -1) {
		all[m[1]]++
	}
	if len(all) == 0 {
		t.Errorf("the log has no goroutines: %.2000s", s.Log())
	}
	return all
}
