# Two commands: `make demo` and `make test`. Both set up what is missing first (Debian 12, Python 3.11; root or sudo).
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
SUBJECT := src tests tools
# Whole runs of the tests share two cores, a module to a worker; a part of them runs by itself.
JOBS ?= 2
# Every lab starts gateways: Python need not compile their source each time, whatever the machine's habit is.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup build kernel abi docs demo test check soak bench clean

setup: $(VENV)/.ready build kernel

$(VENV)/.ready: pyproject.toml tools/packages.txt
	tools/install-packages
	[ -x $(RUN)/python ] || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

kernel: $(VENV)/.ready
	@tools/fetch-kernel

build: $(VENV)/.ready
	@$(RUN)/python tools/build_bpf.py

abi: $(VENV)/.ready
	$(RUN)/python tools/genabi.py

docs: $(VENV)/.ready
	$(RUN)/python tools/gendocs.py

demo: build
	$(ROOT) $(RUN)/python -m wayleave.lab.demo $(if $(KEEP),--keep) $(if $(MUTANT),--mutant $(MUTANT)) $(if $(ONLY),--only $(ONLY))

test: setup
	$(ROOT) $(RUN)/python -m pytest $(if $(TESTS),$(TESTS),-n $(JOBS) --dist loadscope)

soak: setup
	$(ROOT) env WAYLEAVE_PROFILE=soak $(RUN)/python -m pytest $(TESTS)

bench: setup
	$(ROOT) $(RUN)/python -m tests.bench $(BENCH)

check: setup
	$(RUN)/ruff format --check --quiet $(SUBJECT)
	$(RUN)/ruff check --quiet $(SUBJECT)
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python tools/build_bpf.py --force
	$(RUN)/python tools/genabi.py --check
	$(RUN)/python tools/gendocs.py --check

clean:
	rm -rf $(VENV) build dist src/wayleave/dataplane/bng.bpf.o src/wayleave/lab/*.bpf.o tests/bench/traffic.bpf.o
