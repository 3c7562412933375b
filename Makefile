# For a fresh machine with Python 3.11+, git and make:
#   make demo    prepare, train, evaluate and look, on the built-in pictures
#   make test    what guards behaviour: ruff and the tests but the slow ones
#   make test-all    the same, then what is slow by nature
#   make docs    the documentation as a site, build/site/index.html
# and one that downloads JAX and PyTorch, into .venv-backends:
#   make backends    one .keras file under TensorFlow, JAX and PyTorch: the same logits
# The others set up .venv first. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OTHERS := .venv-backends
JOBS   ?= 2
SHARED := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(SHARED)

.PHONY: demo test test-slow test-all coverage lint docs backends clean

# Made anew whenever pyproject.toml changes; "installed" appears only when everything is in.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "alexnet-keras needs Python 3.11 or newer; found $$($(PYTHON) --version). Try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/alexnet demo

# Each process takes whole files, the long ones first, and one thread: JOBS processes keep as many cores busy.
test: $(VENV)/installed lint
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/installed
	$(PYTEST) -m slow

test-all: test test-slow

coverage: $(VENV)/installed
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SHARED)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(OTHERS)/installed: pyproject.toml tests/backends/requirements.txt
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
	  --requirement tests/backends/requirements.txt
	touch $@

backends: $(OTHERS)/installed
	$(OTHERS)/bin/python tests/backends/agreement.py

clean:
	rm -rf $(VENV) $(OTHERS) build dist *.egg-info .pytest_cache .ruff_cache .coverage*
