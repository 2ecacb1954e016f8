# imaged: make help says what there is to make.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
VERSION  ?= 0.1.0
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
FUZZTIME ?= 10s

# The libraries need these tags, and cgo: without it they cannot run builds, nor anything rootless.
TAGS     := containers_image_openpgp,exclude_graphdriver_btrfs
MODULE   := github.com/imaged-project/imaged
LDFLAGS  := -X $(MODULE)/service.Version=$(VERSION) -X $(MODULE)/service.Commit=$(COMMIT) -X main.version=$(VERSION)
COMMANDS := imaged imagectl varlinkgen
LINT     := tests/tools/lint

export CGO_ENABLED := 1
# The commit is linked in above; asking git would fail in a tree that belongs to somebody else.
export GOFLAGS := -buildvcs=false -tags=$(TAGS)
# Other programs to test with: a Debian trixie that `make trixie` unpacks, a Python that `make python` makes, and what was built here.
export IMAGED_TEST_TRIXIE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/imaged/trixie
export IMAGED_TEST_PYTHON ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/imaged/python
export IMAGED_TEST_BIN    ?= $(CURDIR)/bin

.DEFAULT_GOAL := build
.PHONY: help build static demo test trixie python lint generate check-generated bench fuzz faults install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/imaged, bin/imagectl and bin/varlinkgen
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ $(COMMANDS:%=./cmd/%)

static: ## the same, stripped and linked statically
	$(GO) build -tags=$(TAGS),netgo,osusergo -ldflags '$(LDFLAGS) -s -w -linkmode external -extldflags -static' -o bin/ $(COMMANDS:%=./cmd/%)

demo: build ## pull an image from a registry on this machine, and look at it
	@$(GO) build -o bin/demo ./tests/demo
	@bin/demo -bin bin

test: build ## all tests, under the race detector, and every fuzz target for 3 s
	@tests/preflight
	tests/fuzz 3s
	$(GO) test -race -timeout 30m ./...

trixie: ## unpack the Debian trixie that some tests run programs of (needs root and debootstrap)
	tests/make-trixie "$(IMAGED_TEST_TRIXIE)"

python: ## make the Python environment that some tests run clients in (needs python3-venv)
	tests/make-python "$(IMAGED_TEST_PYTHON)"

lint: ## formatting and static analysis
	$(LINT) gofumpt -l .
	$(GO) vet ./...
	$(LINT) staticcheck -checks all ./...
	$(LINT) errcheck -ignoretests -exclude tests/tools/errcheck.txt ./...
	$(LINT) errcheck -exclude tests/tools/errcheck-tests.txt $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...) # tests may close without asking
	$(LINT) go-errorlint ./...
	$(LINT) revive -config tests/tools/revive.toml -exclude ./varlink/gen/... ./...
	$(LINT) deadcode -tags $(TAGS) -test ./...
	cd tests/bench && $(GO) vet ./... # a module of its own, for the sake of its peers

generate: ## write varlink/gen anew from idl/
	$(GO) generate ./varlink/gen

check-generated: ## fail if varlink/gen is not what idl/ makes it
	@old=$$(mktemp -d) && trap 'rm -rf "$$old"' EXIT && cp -a varlink/gen "$$old/gen" && $(GO) generate ./varlink/gen && \
	if ! diff -ru "$$old/gen" varlink/gen; then echo 'varlink/gen was stale; it is written anew: commit it'; exit 1; fi

bench: build ## imaged beside its peers, as a table of ratios; ROWS=rpc or images/save: a part of it
	@tests/preflight
	@cd tests/bench && $(GO) test -count=1 -timeout 60m -run '^TestBench$$$(ROWS:%=/%)'

fuzz: ## every fuzz target for FUZZTIME (10s)
	tests/fuzz $(FUZZTIME)

faults: build ## every operation under every fault, at many points (needs root and strace; takes a quarter of an hour)
	FAULTLAB_FULL=1 $(GO) test -count=1 -timeout 120m -v ./tests/faultlab

install: build ## binaries, units, completions and man pages into DESTDIR and PREFIX
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/systemd/system' '$(DESTDIR)$(PREFIX)/lib/systemd/user' \
		'$(DESTDIR)$(PREFIX)/share/man/man1' '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' \
		'$(DESTDIR)$(PREFIX)/share/zsh/site-functions' '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d'
	install -m 0755 $(COMMANDS:%=bin/%) '$(DESTDIR)$(PREFIX)/bin/'
	for scope in system user; do for unit in cmd/imaged/systemd/$$scope/*; do \
		sed 's|/usr/bin/imaged|$(PREFIX)/bin/imaged|' "$$unit" > "$(DESTDIR)$(PREFIX)/lib/systemd/$$scope/$${unit##*/}" || exit 1; \
	done; done
	bin/imagectl man '$(DESTDIR)$(PREFIX)/share/man/man1'
	bin/imagectl completion bash > '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/imagectl'
	bin/imagectl completion zsh > '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_imagectl'
	bin/imagectl completion fish > '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/imagectl.fish'

clean: ## what make build left
	rm -rf bin
