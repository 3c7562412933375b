# For a fresh machine with Python 3.11+, git and make:
#   make demo    prepare, train, evaluate and look, on the built-in pictures
#   make test    what guards behaviour: ruff, mypy and the tests but the slow ones
#   make test-all    the same, then what is slow by nature
#   make docs    the documentation as a site, build/site/index.html
# for developers:
#   make lint    ruff, mypy and the contract of imports
#   make coverage    the lines that no test runs
#   make mutants    the small mistakes that no test notices: hours
#   make trials    two commands at once, killed processes and damaged files, thousands of times: an hour
#   make constraints    constraints.txt, from what is installed in .venv
# They set up .venv first. PYTHON=python3.12 chooses another interpreter. And with environments of their own:
#   make lowest    the first tier with the lowest versions that pyproject.toml allows, on Python 3.11
#   make backends    .keras files of each backend under TensorFlow, JAX and PyTorch: the same logits, and the same losses in `fit`
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OTHERS := .venv-backends
LOWEST := .venv-lowest
LOWEST_PYTHON ?= python3.11

# Each process takes whole files, the long ones first, and one thread: JOBS processes keep as many cores busy. What is
# slow often waits, for other workers or until it kills a process: one process more.
JOBS   ?= 2
SLOW_JOBS ?= 3
PYTEST := -m pytest --dist loadfile --no-loadscope-reorder --numprocesses

# A tier in two parts, for memory: what TensorFlow keeps of the networks of the first is given back before the second.
define tier
	$(1) $(PYTEST) $(2) -m "$(3)" tests/cli tests/training
	$(1) $(PYTEST) $(2) -m "$(3)" --ignore tests/cli --ignore tests/training
endef
first_tier = $(call tier,$(1),$(JOBS),not slow)
second_tier = $(call tier,$(1),$(SLOW_JOBS),slow)

.PHONY: demo test test-slow test-all coverage mutants trials lint docs constraints lowest backends clean

# Made anew whenever pyproject.toml changes; "installed" appears only when everything is in.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "alexnet-keras needs Python 3.11 or newer; found $$($(PYTHON) --version). Try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/alexnet demo

test: $(VENV)/installed lint
	$(call first_tier,$(BIN)/python)

test-slow: $(VENV)/installed
	$(call second_tier,$(BIN)/python)

test-all: test test-slow

coverage: $(VENV)/installed
	$(BIN)/coverage erase
	$(call first_tier,$(BIN)/coverage run)
	$(call second_tier,$(BIN)/coverage run)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutants: $(VENV)/installed
	$(BIN)/python tests/mutation/mutants.py --jobs $(JOBS)

trials: $(VENV)/installed
	$(BIN)/python tests/trials/trials.py pairs
	$(BIN)/python tests/trials/trials.py kills
	$(BIN)/python tests/trials/trials.py damage

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

constraints: $(VENV)/installed
	{ echo "# Versions with which the tests are known to pass, on Python 3.11: pip install -c constraints.txt -e '.[dev]'"; \
	  echo "# Made by \`make constraints\`, of what is installed in .venv after the tests have passed there."; \
	  $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt

# uv knows how to choose the lowest version of each direct dependency, and the newest of theirs; pip does not.
$(LOWEST)/installed: pyproject.toml
	@$(LOWEST_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "make lowest needs Python 3.11: make lowest LOWEST_PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@

lowest: $(LOWEST)/installed
	$(call first_tier,$(LOWEST)/bin/python)

$(OTHERS)/installed: pyproject.toml tests/backends/requirements.txt
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
	  --requirement tests/backends/requirements.txt
	touch $@

backends: $(OTHERS)/installed
	$(OTHERS)/bin/python tests/backends/agreement.py
	$(OTHERS)/bin/python tests/backends/fitting.py

clean:
	rm -rf $(VENV) $(OTHERS) $(LOWEST) build dist *.egg-info .pytest_cache .ruff_cache .coverage* .mutants
