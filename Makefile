# What there is to type. Everything lives in $(VENV), and nothing is done twice.
#
#   make run      read what the built-in model writes
#   make test     everything: lint, types, all tests (installs PyTorch for the tests)
#   make check    lint, types and the quick tests, in about a minute
#   make reliability  prove that no run is lost: kills, crash points, damage, races; some 20 minutes, one table of figures
#   make docs     build the documentation into site/ (installs MkDocs)
#   make browser  the browser that the tests of the page need, where Debian's packages can be installed
#   make native   compile the C++ after editing it
#   make format   lay the Python out
#   make peers    environments of the other engines, for bench/ (downloads and compiles; takes a while)
#   make clean    remove what was built; delete $(VENV) as well to start afresh
#
# PYTHON=python3.12   another Python, 3.11 or newer
# TORCH_INDEX=...     the address that PyTorch's "Start locally" page names for pip and CPU: a much smaller PyTorch, without CUDA
# PYTEST_ARGS=...     what pytest is given, as in "-n 8" or "tests/test_house.py"

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
MADE_FROM := pyproject.toml hatch_build.py constraints.txt $(wildcard src/cutaway/engines/cpu/native/*) \
	$(if $(wildcard src/cutaway/engines/cpu/_native.so)$(filter 0,$(CUTAWAY_NATIVE)),,library-is-missing)

unexport PYTHONDONTWRITEBYTECODE # what is compiled is kept: the tests start hundreds of processes

.PHONY: run test check lint reliability docs browser native format peers clean library-is-missing

run: $(VENV)/core.stamp
	@$(BIN)/cutaway generate --stream "Once upon a time there was a little girl who"

test: PYTEST_ARGS ?= -n 3 --dist worksteal
test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: PYTEST_ARGS ?= -n auto --dist worksteal
check: lint
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Each check runs in a process of its own; CHECKS="damage lock-races" runs those.
reliability: $(VENV)/dev.stamp
	$(BIN)/python -m tests.reliability $(CHECKS)

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict

browser:
	@for name in $(or $(CUTAWAY_CHROMIUM),chromium-headless-shell chromium chromium-browser google-chrome); \
	do command -v $$name >/dev/null && exit; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	for name in chromium-headless-shell chromium; do apt-get install -y -qq --no-install-recommends $$name && exit; done; exit 1; \
	else echo "Install Chromium or Chrome, or say where it is: CUTAWAY_CHROMIUM=/path/to/chrome"; fi

native: $(VENV)/dev.stamp
	$(BIN)/python hatch_build.py

format: $(VENV)/dev.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

peers: $(VENV)/dev.stamp
	bash bench/setup_peers.sh

clean:
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis $(VENV)/*.stamp src/cutaway/engines/cpu/_native.so
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/core.stamp: $(MADE_FROM) | $(BIN)/pip
	@echo "Installing Cutaway into $(VENV) (a few minutes where there is no C++ compiler yet) ..."
	@$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/dev.stamp: $(MADE_FROM) | $(BIN)/pip
	@echo "Installing Cutaway, PyTorch and the tools into $(VENV) ..."
	@$(PIP_INSTALL) --editable '.[train,data,ray,dev]'
	@touch $(VENV)/core.stamp $@

$(VENV)/docs.stamp: $(MADE_FROM) | $(BIN)/pip
	@echo "Installing MkDocs into $(VENV) ..."
	@$(PIP_INSTALL) --editable '.[docs]'
	@touch $(VENV)/core.stamp $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Cutaway needs Python 3.11 or newer: name one, as in PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
