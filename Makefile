# What a newcomer needs: `make demo` and `make test`; each sets up .venv first.

PYTHON ?= python3
BIN := .venv/bin
# the hostfile asks for two slots: with fewer GPUs than that the CPU is used
export DS_ACCELERATOR ?= $(shell [ "$$(nvidia-smi -L 2>/dev/null | wc -l)" -ge 2 ] && echo cuda || echo cpu)

.PHONY: help setup demo check test test-hosts bench clean

help:
	@echo "make setup       .venv with all extras, versions of constraints.txt"
	@echo "make demo        radar files to a forecast picture, under 6 minutes on 2 cores"
	@echo "make check       lint, format, types, fast tests"
	@echo "make test        all tests but those of several hosts"
	@echo "make test-hosts  several hosts, many ranks, every precision, injected faults"
	@echo "make bench       all benchmarks, 15 minutes on 2 cores; renews the tables of docs/performance.md"
	@echo "make clean       removes what the others made, .venv too"

setup: .venv/installed

# torch first and pinned: an unpinned one can pull gigabytes of builds that this machine cannot use
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch setuptools
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

FREE_PORT = $(BIN)/python -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"

# --no_ssh_check and --master_addr: on one machine DeepSpeed would otherwise ask for ssh to itself
LAUNCH = $(BIN)/deepspeed --quiet --hostfile hostfile --no_ssh_check --master_addr 127.0.0.1 \
         --master_port $$($(FREE_PORT)) --module

demo: setup demo/archive/CATALOG.csv
	$(BIN)/python -m data_prep build --format sevir --source demo/archive --out demo/shards --samples-per-shard 16
	$(LAUNCH) ds_nowcast.train --deepspeed_config ds_configs/demo.json --shards demo/shards --run runs/demo
	$(LAUNCH) ds_nowcast.evaluate --run runs/demo --shards demo/shards --split test
	$(BIN)/python -m ds_nowcast.forecast --run runs/demo --format sevir --source demo/archive \
	    --out runs/demo/forecast.nc --picture runs/demo/forecast.png --gif runs/demo/forecast.gif
	@echo "demo done: scores and cases in runs/demo/report/index.html; a forecast in runs/demo/forecast.png and .gif"

demo/archive/CATALOG.csv: | setup
	@mkdir -p demo
	$(BIN)/python -m data_prep simulate --out demo/archive --events 160 --size 96 --frames 49

# a thread for each: where processes fill the cores, threads of one would wait for each other at every step
SIDE_BY_SIDE = OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SIDE_BY_SIDE) -m "not slow and not launch and not hosts"

test: setup
	$(SIDE_BY_SIDE) -m "not launch and not hosts"
	$(BIN)/pytest -m "launch and not hosts" --durations 10

test-hosts: setup
	$(SIDE_BY_SIDE) -m "hosts and slow"
	$(BIN)/pytest -m "hosts and not slow" --durations 10

bench: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks --page docs/performance.md

clean:
	rm -rf .venv demo runs/demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
