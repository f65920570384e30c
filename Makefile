# Everything is a script in scripts/; this file gives them short names. `make help` lists them.

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
SWIFT ?= swift
SEED ?= 1

.PHONY: build demo test bench soak fuzz sanitize lint verify install clean help
.DEFAULT_GOAL := build

build: ## the two programs, optimised: .build/release/s3backer and cachecheck (default)
	scripts/setup build
	$(SWIFT) build -c release --product s3backer
	$(SWIFT) build -c release --product cachecheck

demo: ## files on a volume, kill -9 while blocks are dirty, everything still there
	scripts/demo

test: ## all tests, compared with the committed list Tests/inventory.txt
	scripts/test

bench: ## beside s3backer 1.5.4 and the upper bounds, interleaved; SECONDS=2 of each run, RUNS=5
	scripts/bench --seconds $(or $(SECONDS),2) --runs $(or $(RUNS),5)

soak: ## crash simulation until the time is up; SECONDS=600 SEED=1
	scripts/setup build
	$(SWIFT) build -c release --product crashsim
	.build/release/crashsim --seconds $(or $(SECONDS),600) --seed $(SEED)

fuzz: ## every parser of untrusted bytes with random input; SECONDS=60 for each
	scripts/fuzz --seconds $(or $(SECONDS),60)

sanitize: ## the tests under the thread sanitizer, then under the address sanitizer
	scripts/sanitize thread
	scripts/sanitize address

lint: ## format, file length, character set, imports, shell scripts
	scripts/lint

verify: ## every promise that can be measured, as a table
	scripts/verify

# mount(8) needs nothing more than this: for the type fuse.s3backer it runs mount.fuse3, which
# executes s3backer from the PATH.
install: ## PREFIX=/usr/local DESTDIR=; programs that need no Swift on the machine
	scripts/setup build
	$(SWIFT) build -c release --static-swift-stdlib --scratch-path .build-static --product s3backer
	$(SWIFT) build -c release --static-swift-stdlib --scratch-path .build-static --product cachecheck
	install -d $(DESTDIR)$(BINDIR)
	install -m 755 .build-static/release/s3backer .build-static/release/cachecheck $(DESTDIR)$(BINDIR)/

clean: ## removes what building and testing made (the Python packages in .build-venv stay)
	rm -rf .build .build-static .build-fuzz .build-tsan .build-asan .build-setup.log .build-setup.lock

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
