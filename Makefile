# The project's commands. Each installs what it needs; nothing comes from anywhere but PyPI and Debian.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEMPEST_VENV := .venv-tempest
TEMPEST := 47.0.0
KEYSTONE_VENV := .venv-keystone
KEYSTONE := 30.0.0
JOBS ?= 2
ARGS ?=
SEEDS ?= 50
SEED ?=
# Clients that tests run and that PyPI does not have; iproute2 (ip and tc), which makes networks, besides.
CLIENTS := restic rclone chromium
PIP := $(BIN)/pip --disable-pip-version-check --quiet --no-input

help: ## this text
	@printf 'make TARGET [ARGS="…"], in a fresh clone or an old one:\n\n'
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 16
	@printf '\nJOBS=%s processes run the tests; PYTHON=%s makes %s.\n' '$(JOBS)' '$(PYTHON)' '$(VENV)'

up: $(VENV)/.store ## start a store, print its endpoint, keys and what to try; Ctrl-C stops it, data stay
	@exec $(BIN)/atoll up $(ARGS)

test: $(VENV)/.dev clients ## run all tests; ARGS go to pytest
	@$(BIN)/pytest -n $(JOBS) $(ARGS)

check: $(VENV)/.dev ## format, lint, types, import order
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

cluster: $(VENV)/.store ## four nodes in four zones on loopback, and how to break one; ARGS="--tls" with TLS
	@exec $(BIN)/python -m tools.cluster $(ARGS)

bench: $(VENV)/.dev ## measure the store; a table, a picture and results.json under bench/
	@$(BIN)/atoll bench all $(ARGS)

sim: $(VENV)/.dev ## simulate whole clusters with faults: SEEDS=50 of them, or one with SEED=…
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

sim-mutants: $(VENV)/.dev ## put bugs back one by one: each must make one of SEEDS seeds fail
	@$(BIN)/python -m tests.sim --seeds $(SEEDS) --mutants $(ARGS)

tempest: $(VENV)/.dev ## run Tempest's tests of what the add-on has; ARGS go to tempest run
	@test -x $(TEMPEST_VENV)/bin/tempest || { echo "installing Tempest into $(TEMPEST_VENV)"; \
	  $(PYTHON) -m venv $(TEMPEST_VENV); \
	  $(TEMPEST_VENV)/bin/pip --disable-pip-version-check --quiet --no-input install tempest==$(TEMPEST); }
	@$(BIN)/python -m tests.tempest $(ARGS)

keystone: $(VENV)/.dev ## the store behind a real Keystone from PyPI
	@test -x $(KEYSTONE_VENV)/bin/keystone-manage || { echo "installing Keystone into $(KEYSTONE_VENV)"; \
	  $(PYTHON) -m venv $(KEYSTONE_VENV); \
	  $(KEYSTONE_VENV)/bin/pip --disable-pip-version-check --quiet --no-input install keystone==$(KEYSTONE); }
	@$(BIN)/python -m tests.keystone

smoke-guest: $(VENV)/.dev clients ## real guests, emulated, on volumes of the object store
	@for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static; do \
	  command -v "$${pair%:*}" >/dev/null || apt-get install -qq -y --no-install-recommends "$${pair#*:}" >/dev/null; done
	@test -d build/guest/boot || { mkdir -p build/guest && cd build/guest && \
	  apt-get download -qq $$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p') && \
	  dpkg-deb -x linux-image-*.deb . && rm linux-image-*.deb; }
	@$(BIN)/python -m tests.guest build/guest

crash: $(VENV)/.dev ## cut a device's power at every moment, and look at every state of its disk; takes long
	@ATOLL_CRASH_IMAGES=all $(BIN)/pytest -n $(JOBS) --timeout 7200 tests/crash $(ARGS)

lock: $(VENV)/.dev ## write requirements.lock from what is installed now
	@{ sed -n '/^#/p' requirements.lock; $(PIP) freeze --exclude-editable; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

# ---- what is installed ---------------------------------------------------------------------------

$(BIN)/python:
	@if ! $(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null; \
	  else \
	    echo "make: $(PYTHON) must be Python 3.11 or newer with venv (on Debian: apt-get install python3-venv)" >&2; exit 1; \
	  fi; \
	fi
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.store: pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing the store into $(VENV)"
	@$(PIP) install --constraint requirements.lock --editable '.[cloud]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing the store and its tests into $(VENV)"
	@$(PIP) install --constraint requirements.lock --editable '.[dev,cloud]'
	@touch $@ $(VENV)/.store

clients:
	@missing=''; for name in $(CLIENTS); do command -v "$$name" >/dev/null || missing="$$missing $$name"; done; \
	command -v ip >/dev/null && command -v tc >/dev/null || missing="$$missing iproute2"; \
	command -v qemu-img >/dev/null || missing="$$missing qemu-utils"; \
	command -v nbdcopy >/dev/null || missing="$$missing libnbd-bin"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing"; apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	  else \
	    echo "missing:$$missing. Install them (on Debian: sudo apt-get install$$missing); tests that run them will fail" >&2; \
	  fi; \
	fi

.PHONY: help up cluster test check bench sim sim-mutants tempest keystone smoke-guest crash lock clients
