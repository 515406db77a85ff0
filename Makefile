# MedFed: `make help` lists what there is to do. GNU make 3.81 or later.

VENV    := .venv
PY      := $(VENV)/bin/python
PIP     := $(PY) -m pip --quiet --disable-pip-version-check install --no-deps
JOBS    ?= 2
PYTEST  := $(VENV)/bin/pytest -n $(JOBS) --dist worksteal --durations 15
COMPILE := $(VENV)/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
           --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo network network-demo test test-core lint format bench bench-accuracy coverage endurance mutants faults fuzz requirements wheel clean

# CometBFT for networks of hospitals, by version and the checksum that Go has built into it. MEDFED_COMETBFT names another.
COMETBFT := v0.38.17
COMETBFT_SUM := h1:FkrQNbAjiFqXydeAO81FUzriL4Bz0abYxN/eOHrQGOk=
NETWORK  := $(CURDIR)/.network/bin/cometbft
export MEDFED_COMETBFT ?= $(wildcard $(NETWORK))

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "Set MEDFED_PYTHON to choose the interpreter (3.11 or later)."

demo: $(VENV)/.core  ## four hospitals train a model together, in demo-run/; options: make demo ARGS="--help"
	@$(VENV)/bin/medfed demo --output demo-run $(ARGS)

network:  ## install CometBFT, which replicates the ledger between hospitals, in .network/; needs Go
	@if ! command -v go > /dev/null; then \
	  echo "medfed: needs Go 1.22 or later to build CometBFT; install it and put go on the path. Everything but" >&2; \
	  echo "  networks of several hospitals works without." >&2; exit 4; \
	fi
	@if [ "$$($(NETWORK) version 2> /dev/null)" != "$(COMETBFT:v%=%)" ]; then \
	  echo "building CometBFT $(COMETBFT), some minutes the first time"; \
	  GOBIN="$(dir $(NETWORK))" GOFLAGS=-mod=mod go install github.com/cometbft/cometbft/cmd/cometbft@$(COMETBFT); \
	fi
	@if ! go version -m $(NETWORK) | grep -q "cometbft/cometbft.*$(COMETBFT).*$(COMETBFT_SUM)"; then \
	  echo "medfed: $(NETWORK) was not built from CometBFT $(COMETBFT) with the checksum $(COMETBFT_SUM)" >&2; exit 5; \
	fi
	@echo "CometBFT $$($(NETWORK) version) is in $(NETWORK:$(CURDIR)/%=%)"

network-demo: $(VENV)/.core network  ## four hospitals on four nodes in consensus, in network-run/
	@MEDFED_COMETBFT="$${MEDFED_COMETBFT:-$(NETWORK)}" $(VENV)/bin/medfed demo --network --output network-run $(ARGS)

test: $(VENV)/.dev $(VENV)/.torch  ## every test; installs torch, about 5 GB, the first time
	@$(PYTEST) $(ARGS)

test-core: $(VENV)/.dev  ## every test that needs no torch
	@$(PYTEST) -m "not torch" $(ARGS)

lint: $(VENV)/.dev  ## style, types and layers
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/pyright
	@$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.dev  ## put the code into shape
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

bench: $(VENV)/.core  ## speed, memory and growth as ratios, into benchmarks/RESULTS.md; options: make bench ARGS="--quick"
	@$(PY) -m benchmarks.run $(ARGS)

bench-accuracy: $(VENV)/.core  ## accuracy against the stated figures; options: make bench-accuracy ARGS="heart --seeds 1"
	@$(PY) -m benchmarks.accuracy $(ARGS)

# Processes that tests have killed leave files that `combine` cannot read, and says so for each.
coverage: $(VENV)/.dev  ## which lines and branches of crypto, ledger, secure_sum and hospital no test runs
	@rm -f .coverage .coverage.*
	@status=0; $(VENV)/bin/coverage run -m pytest -n $(JOBS) --dist worksteal -m "not torch" \
	  --deselect tests/simulation/test_faults.py \
	  $(or $(ARGS),$(addprefix tests/,unit conformance attacks properties vectors simulation end_to_end)) || status=$$?; \
	$(VENV)/bin/coverage combine --quiet 2> /dev/null || true; \
	for package in crypto ledger secure_sum hospital; do \
	  echo "$$package: $$($(VENV)/bin/coverage report --format=total --precision 1 --fail-under 0 --include "*/medfed/$$package/*") %"; done; \
	$(VENV)/bin/coverage report || status=$$?; exit $$status

mutants: $(VENV)/.dev  ## which small wrong changes of contracts and secure sums no test notices; options: make mutants ARGS="--sample 100"
	@$(PY) -m tests.mutation.run --jobs $(JOBS) $(ARGS)

faults: $(VENV)/.dev  ## 10,000 seeds of simulated disasters; options: make faults ARGS="--replay 17", ARGS="--dealings --seeds 0:1000"
	@$(PY) -m medfed.simulation.fault_run $(or $(ARGS),--seeds 0:10000 --jobs $(JOBS))

endurance: $(VENV)/.core network  ## 200 rounds on four nodes with random restarts; options: make endurance ARGS="--rounds 20"
	@MEDFED_COMETBFT="$${MEDFED_COMETBFT:-$(NETWORK)}" $(PY) -m benchmarks.endurance $(ARGS)

fuzz: $(VENV)/.dev  ## feed every decoder with almost valid input; options: make fuzz ARGS="--target model-file --runs 100000"
	@$(PY) -m tests.fuzz.run $(ARGS)

requirements: $(VENV)/.dev  ## compile requirements/*.in anew, with hashes
	@cd requirements && for list in core build dev torch; do \
	  echo "compiling requirements/$$list.txt"; \
	  CUSTOM_COMPILE_COMMAND="make requirements" ../$(COMPILE) $(ARGS) --output-file $$list.txt $$list.in || exit; \
	done

wheel: $(VENV)/.core  ## build dist/medfed-*.whl without a download
	@rm -rf build dist
	@$(PY) -m build --wheel --no-isolation --outdir dist . > dist.log 2>&1 || { cat dist.log; rm -f dist.log; exit 1; }
	@rm -f dist.log; ls dist/*.whl

clean:  ## remove builds and caches; the virtual environment stays
	@rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	@find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Set-up. Each step leaves a stamp, so it runs once and again only when what it read has changed.
# The lists are complete, hence --no-deps; .ci/run has pip check that.

$(VENV)/.python:
	@found=; for python in $${MEDFED_PYTHON:-python3 python3.13 python3.12 python3.11}; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  asked=$${MEDFED_PYTHON:-python3}; version=$$("$$asked" -V 2> /dev/null || echo absent); \
	  echo "medfed: needs Python 3.11 or later; $$asked is $$version. Set MEDFED_PYTHON to one that is." >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import venv, ensurepip' 2> /dev/null; then \
	  echo "medfed: $$found has no venv module; install it (on Debian and Ubuntu: the package python3-venv)." >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$("$$found" -V)"; "$$found" -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.python requirements/core.txt requirements/build.txt pyproject.toml
	@echo "installing MedFed and the 9 libraries that it needs, about 80 MB"
	@$(PIP) --require-hashes -r requirements/core.txt -r requirements/build.txt
	@$(PIP) --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core requirements/dev.txt
	@echo "installing what tests and lint need, about 300 MB"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.torch: $(VENV)/.core requirements/torch.txt
	@echo "installing torch for the tests that use it as an oracle, about 5 GB: this takes minutes (make test-core does without)"
	@$(PIP) --require-hashes -r requirements/torch.txt
	@touch $@
