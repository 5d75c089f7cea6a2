# The one way to build, test and try posthorn; `make help` lists the targets.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 10s
BIN      ?= bin/posthorn

.DEFAULT_GOAL := help
.PHONY: help build packages deps lint vuln test fuzz soak demo bench clean

# The tools have a go.mod of their own: they need many times more than posthorn.
TOOL := go tool -modfile=tools/go.mod

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build bin/posthorn, one static file
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o $(BIN) ./cmd/posthorn

packages: ## build dist/*.deb and *.rpm, for amd64 and arm64
	VERSION='$(VERSION)' deploy/packages/build dist

deps: ## install what tests and demo need (Debian, Ubuntu), or say what is missing
	@.ci/deps

lint: ## check format, vet, staticcheck, gosec and modules
	@unformatted=$$(gofmt -l .) && if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) gosec -quiet -nosec-require-rules -nosec-require-justification -exclude-dir=internal/xmpptest -exclude-dir=internal/pgtest ./...
	go mod verify
	go mod tidy -diff

vuln: ## look for known vulnerabilities, in a database on the network
	$(TOOL) govulncheck ./...

test: deps lint ## run everything, real servers included, under the race detector
	CGO_ENABLED=1 go test -race -count=1 -timeout 60m ./...

fuzz: deps ## fuzz each target for FUZZTIME (10s)
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$package; \
		done; \
	done

soak: deps ## run the tests that take long too
	CGO_ENABLED=1 go test -race -count=1 -tags soak -timeout 120m ./...

demo: ## show a message on its way from curl through a real Prosody (ONCE=1: and end)
	@.ci/deps demo
	@$(MAKE) --no-print-directory build
	go build -buildvcs=false -o bin/demo ./internal/xmpptest/demo
	bin/demo -posthorn bin/posthorn $(if $(ONCE),-once)

bench: build ## measure beside what it is compared with, and write docs/benchmarks.md
	@.ci/deps bench
	go build -buildvcs=false -o bin/bench ./internal/xmpptest/bench
	bin/bench -posthorn bin/posthorn

clean: ## remove what build made
	rm -rf bin dist
