# Everything here does its own set-up in .venv, from nothing but Python 3.11 or newer
# (make test PYTHON=python3.13 selects one), and sets up again only when what is installed
# or the interpreter has changed. A C compiler is used if there is one.

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PY := $(BIN)/python

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo "$$p" && break; done)
endif

# The compiled part, which pip builds if it can.
SPEEDUPS := trio_websocket/_protocol/_speedups.c
LANES := c off python
# What the other lanes run of Autobahn: of compression, a third. Each takes ten minutes;
# .ci/run makes it less.
AUTOBAHN_PART := 1.* 2.* 3.* 4.* 5.* 6.* 7.* 9.* 10.* 12.1.* 12.2.* 13.1.* 13.2.*

# The interpreter behind a virtual environment, the same inside and outside of it.
IDENTIFY := -c "import sys; print(sys.version_info[:3], sys.base_prefix)"

# Set up the dependency group $(1): nothing if its stamp says so, else into the virtual
# environment that is there, else (none, or of another interpreter, or copied from
# elsewhere) into a new one.
define set-up
@set -e; \
if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	echo "Python 3.11 or newer is needed: name one with PYTHON=..." >&2; exit 1; \
fi; \
wanted="$$("$(PYTHON)" $(IDENTIFY))"; \
present="$$(grep -sqF "$(PY)" "$(BIN)/pip" && "$(PY)" $(IDENTIFY) 2>/dev/null || true)"; \
key="$$wanted $$(cat pyproject.toml setup.py $(SPEEDUPS) | cksum)"; \
for group in $(1) dev; do \
	if [ "$$wanted" = "$$present" ] && [ "$$key" = "$$(cat "$(VENV)/stamp-$$group" 2>/dev/null)" ]; then \
		exit 0; \
	fi; \
done; \
echo "setting up $(VENV) ($(1)) with $(PYTHON)"; \
rm -f "$(VENV)"/stamp-*; \
if [ "$$wanted" != "$$present" ] || ! "$(PY)" -m pip --version >/dev/null 2>&1; then \
	"$(PYTHON)" -m venv --clear "$(VENV)"; \
fi; \
"$(PY)" -m pip install -qq --disable-pip-version-check "pip>=25.1"; \
"$(PY)" -m pip install -qq --disable-pip-version-check --editable . --group $(1); \
echo "$$key" >"$(VENV)/stamp-$(1)"
endef

.PHONY: help demo test lint ruff flake8-async lint-imports codespell workflows \
	compiler-warnings types mypy pyright verifytypes pytest docs autobahn lanes bench compat \
	format clean env demo-env

help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: demo-env  ## run the demonstration: a TLS server, its clients, and what they say
	@"$(PY)" examples/demo.py

test: lint types docs pytest  ## run the whole gate

lint: ruff flake8-async lint-imports codespell workflows compiler-warnings  ## check format, style, Trio rules, layers, spelling and workflows

ruff: env
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .

flake8-async: env
	"$(BIN)/flake8-async" --enable=ASYNC,ASYNC900,ASYNC910,ASYNC911,ASYNC912 $$(find trio_websocket -name '*.py')

lint-imports: env
	"$(BIN)/lint-imports" --no-logo --no-cache

codespell: env
	"$(BIN)/codespell"

workflows: env
	"$(BIN)/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml

# Without a compiler there is nothing to check: the library does without it, too.
compiler-warnings: env
	@if command -v $(CC) >/dev/null; then set -x; \
		$(CC) -std=c11 -O3 -Wall -Wextra -Wconversion -Werror -DPy_LIMITED_API=0x030B0000 \
			-isystem "$$("$(PY)" -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
			-c -o /dev/null $(SPEEDUPS); \
	else echo "there is no C compiler: $(SPEEDUPS) was not checked"; fi

types: mypy pyright verifytypes  ## check types, and that the installed package exports no unknown one

mypy: env
	"$(BIN)/mypy"

pyright: env
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 "$(BIN)/pyright"

# From another folder, so that pyright finds the installed package and not the checkout;
# build/lib would bring modules back that are no longer there.
INSTALLED := build/verifytypes
verifytypes: env
	rm -rf build/lib* $(INSTALLED)
	"$(PY)" -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --target $(INSTALLED)/site .
	cd $(INSTALLED) && PATH="$(BIN):$$PATH" PYTHONPATH=site PYRIGHT_PYTHON_IGNORE_WARNINGS=1 \
		"$(BIN)/pyright" --ignoreexternal --verifytypes trio_websocket

pytest: env  ## run the tests, with branch coverage
	"$(PY)" -m coverage run -m pytest
	"$(PY)" -m coverage report

docs: env  ## build the documentation into docs/_build/html
	"$(PY)" -m sphinx -nWEq --keep-going -b html docs docs/_build/html

autobahn: env  ## run the Autobahn test suite in both roles and with each lane, half an hour (needs Python 2.7)
	@set -ef; for lane in $(LANES); do \
		echo "== lane $$lane"; \
		[ $$lane = c ] && part= || part="--cases $(AUTOBAHN_PART)"; \
		TRIO_WEBSOCKET_LANE=$$lane "$(PY)" autobahn/run.py $$part; \
	done

# The tests of the protocol run with each lane in any case.
lanes: env  ## run the tests with each lane that is not the default, without coverage
	@set -e; for lane in off python; do \
		echo "== lane $$lane"; \
		TRIO_WEBSOCKET_LANE=$$lane "$(PY)" -m pytest -p no:cacheprovider \
			tests/connection tests/integration; \
	done

# The editable installation builds the compiled parts, where there is a compiler. Version
# 0.12.2 has our import name, and gets an environment of its own. Remove them to have
# them made anew with another PYTHON.
BENCH := benchmarks/.venv
bench: $(BENCH)/stamp $(BENCH)-old/stamp  ## measure the library beside its peers, an hour or more (ARGS=--quick for a look)
	$(BENCH)/bin/python benchmarks/run.py $(ARGS)

$(BENCH)/stamp: pyproject.toml $(wildcard setup.py trio_websocket/*/*.c)
	"$(PYTHON)" -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install -qq --disable-pip-version-check "pip>=25.1"
	$(BENCH)/bin/python -m pip install -qq --disable-pip-version-check --editable . --group bench
	touch $@

$(BENCH)-old/stamp:
	"$(PYTHON)" -m venv --clear $(BENCH)-old
	$(BENCH)-old/bin/python -m pip install -qq --disable-pip-version-check trio-websocket==0.12.2
	touch $@

# LOWEST=1 installs the lowest versions that pyproject.toml admits.
COMPAT := build/compat
compat:  ## run the tests without coverage on PYTHON, with LOWEST=1 on the oldest dependencies
	"$(PYTHON)" -m venv --clear $(COMPAT)
	$(COMPAT)/bin/python -m pip install -qq --disable-pip-version-check "pip>=25.1"
	$(COMPAT)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
		| sed $(if $(LOWEST),'s/>=/==/','') >$(COMPAT)/constraints.txt
	$(COMPAT)/bin/python -m pip install -qq --disable-pip-version-check --constraint $(COMPAT)/constraints.txt --editable . --group test
	$(COMPAT)/bin/python -m pytest -p no:cacheprovider

format: env  ## format the code and mend what can be mended
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

clean:  ## remove everything that was made, but .venv
	rm -rf build dist docs/_build *.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

env:
	$(call set-up,dev)

demo-env:
	$(call set-up,demo)
