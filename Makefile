# Targets; each sets up .venv itself when it is missing or older than the lock or pyproject.toml:
#   make demo     a generated cohort through everything: fit, calibrate, detect, evaluate, report
#   make test     all tests, with coverage
#   make lint     ruff, pyright, import contracts, spelling
#   make docs     the documentation; warnings are errors
#   make bench    the scripts behind the speed claims that need no run of a benchmark
#   make pack-data  the healthy training scans as one small file, for `brainuad fit --packed`
#   make setup    only .venv
# Variables: PYTHON (interpreter, 3.11 to 3.13), OUT (folder of the demo),
#   PACK (file of pack-data), TORCH_INDEX (package index to take torch from; see .ci/setup).

.PHONY: help setup demo test lint docs bench pack-data clean
.DELETE_ON_ERROR:

OUT ?= demo-out
BIN := .venv/bin
STAMP := .venv/.stamp

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -10

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" bash .ci/setup
	@touch $@

demo: $(STAMP)
	@$(BIN)/brainuad demo -o "$(OUT)"
	@echo "report: $$(cd "$(OUT)" && pwd)/index.html"

# One thread per worker: two workers with two threads each only get in each other's way.
test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --cov=brainuad --cov-report=term --cov-fail-under=90

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/codespell

docs: $(STAMP)
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs: $(CURDIR)/docs/_build/html/index.html"

bench: $(STAMP)
	@for name in store metrics random_slices round_trip fuzz; do $(BIN)/python "benchmarks/$$name.py" || exit 1; done

PACK ?= bench-out/packed.pack
pack-data: $(STAMP)
	@$(BIN)/python benchmarks/pack_data.py --data "$${BRAINUAD_DATA:-../shared}" --out "$(PACK)"

clean:
	@rm -rf docs/_build htmlcov .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis
