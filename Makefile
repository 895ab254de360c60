# Everything runs in one environment: the active one where that has a torch, else .venv, made here.
# ARGS="..." goes on to the program that a target calls: make test ARGS="tests/nn -x".

PYTHON ?= python3
ACTIVE := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
KEPT := $(if $(ACTIVE),$(shell "$(ACTIVE)/bin/python" -c \
	'from importlib.metadata import version; print(version("torch"))' 2>/dev/null))

ifdef KEPT
ENV := $(ACTIVE)
# Torchvision's wheels fit the standard torch build only, and a misfit breaks torchmetrics as well.
EXTRAS := $(if $(findstring +,$(KEPT)),,vision,)scannet,docs,dev
PINS := torch===$(KEPT)
else
ENV := .venv
EXTRAS := vision,scannet,docs,dev
# Three equals signs: two would also take a CPU-only 2.13.0+cpu found on this machine.
PINS := torch===2.13.0 torchvision==0.28.0
endif

PY := $(ENV)/bin/python
LATENTGRAPH := $(ENV)/bin/latentgraph
EXAMPLES := $(filter-out $(if $(findstring vision,$(EXTRAS)),,examples/mask_rcnn.py),\
	$(sort $(wildcard examples/*.py)))
DEMO := runs/make-demo
COMMA := ,
FRESH := build/fresh
FROM ?= whl
UNISOLATED := $(if $(filter scatter,$(EXTRA)),--no-build-isolation)
CORE_EXAMPLES := $(addprefix examples/,custom_layers.py node_features.py grid_features.py)
OLDEST := torch==2.7.0 torch-geometric==2.6.0 numpy==1.24.4 pytest pytest-randomly hypothesis onnx \
	onnxscript tabulate
LAYERS := tests/functional tests/nn tests/out_of_core tests/voxel
# The active environment can serve several checkouts, so its stamp carries the name of this one.
STAMP := $(ENV)/.latentgraph$(if $(KEPT),$(subst /,-,$(CURDIR)))
QUIET := $(if $(MAKE_TERMOUT),,--quiet)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n)
OPEN3D_LIBRARIES := libusb-1.0-0 libgl1 libegl1 libx11-6

# $(call debian,PACKAGES): install Debian packages where we may, else print the line to run.
debian = { command -v apt-get && $(SUDO) true && $(SUDO) apt-get update \
	&& $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1); \
	} >/dev/null 2>&1 || echo "Please run: sudo apt-get install $(1)"

.PHONY: help env demo test test-slow test-nightly coverage lint docs examples dist fresh oldest \
	compare votes apartments bench tables scatter clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## install everything once, and again when pyproject.toml changes

$(STAMP): pyproject.toml
ifdef KEPT
	@echo "Installing into the active environment $(ENV); its torch $(KEPT) stays."
else
	@echo "Installing into .venv: about 6.5 GB, a minute on a fast connection."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed, $$($(PYTHON) --version) was found: make PYTHON=..."; false; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call debian,\
		$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))
	$(PYTHON) -m venv $(ENV)
endif
	$(PY) -m pip install $(QUIET) $(PINS) --editable '.[$(EXTRAS)]'
	@$(PY) -c 'import open3d' 2>/dev/null || { \
		echo "Open3D needs $(OPEN3D_LIBRARIES)."; $(call debian,$(OPEN3D_LIBRARIES)); }
	@touch $@

demo: $(STAMP) ## rooms, training, evaluation and predictions, in minutes
	rm -rf $(DEMO)
	$(LATENTGRAPH) rooms $(DEMO)/rooms
	$(LATENTGRAPH) prepare $(DEMO)/rooms
	$(LATENTGRAPH) train --config demo --data.root $(DEMO)/rooms --out $(DEMO)/network
	@$(LATENTGRAPH) evaluate $(DEMO)/network/last.ckpt $(DEMO)/rooms
	@$(LATENTGRAPH) predict $(DEMO)/rooms/scans/scene0011_00 \
		--checkpoint $(DEMO)/network/last.ckpt --out $(DEMO)/prediction

test: $(STAMP) ## the test suite, on up to four processes
	$(PY) -m pytest --numprocesses logical --maxprocesses 4 $(ARGS)

test-slow: $(STAMP) ## the tests that take minutes; torch.compile needs a C++ compiler
	@command -v g++ >/dev/null || $(call debian,g++ python3-dev)
	$(PY) -m pytest -m slow $(ARGS)

test-nightly: $(STAMP) ## 100,000 cases of the property-based tests, other ones each night
	$(PY) -m pytest -m hypothesis --hypothesis-profile nightly --hypothesis-show-statistics $(ARGS)

lint: $(STAMP) ## style, formatting, types, security, and who imports whom
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m bandit --quiet --recursive --configfile pyproject.toml latentgraph
	$(ENV)/bin/lint-imports --no-logo

docs: $(STAMP) ## the documentation, into docs/_build/html
	$(PY) -m sphinx -W --keep-going $(QUIET) -b html docs docs/_build/html

examples: $(STAMP) ## every example, seconds each
	set -e; for example in $(EXAMPLES); do echo "== $$example"; $(PY) $$example; done

coverage: ## the test suite, and which lines it misses; under 90 % fails
	$(MAKE) test ARGS="--cov --cov-report=term-missing:skip-covered --cov-fail-under=90 $(ARGS)"

dist: $(STAMP) ## wheel and sdist, checked, the code of the guides run with the wheel
	rm -rf dist build/wheel
	$(PY) -m build --outdir dist .
	$(PY) -m twine check --strict dist/*
	@test $$(cat dist/*.whl | wc -c) -lt 300000 || { echo "The wheel has more than 300 kB."; false; }
	$(PY) -m pip install $(QUIET) --no-deps --target build/wheel dist/*.whl
	cd build/wheel && $(abspath $(PY)) -m latentgraph --help
	PYTHONPATH=$(CURDIR)/build/wheel $(PY) tests/pages.py $(subst $(COMMA), ,$(EXTRAS)) inspection

fresh: ## the wheel in an environment of its own: make dist fresh EXTRA=scannet FROM=tar.gz
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(if $(UNISOLATED),$(FRESH)/bin/pip install $(QUIET) $(WITH) setuptools wheel torch)
	$(FRESH)/bin/pip install $(QUIET) $(UNISOLATED) $(WITH) \
		"$$(echo dist/*.$(FROM))$(if $(EXTRA),[$(EXTRA)])"
	$(FRESH)/bin/python tests/pages.py $(subst $(COMMA), ,$(EXTRA))
	set -e; for example in $(CORE_EXAMPLES); do $(FRESH)/bin/python $$example; done
	rm -rf $(FRESH)

oldest: ## the tests of the layers with the oldest torch and PyG, but for compile and export
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/pip install $(QUIET) $(OLDEST) --editable .
	$(FRESH)/bin/python -m pytest $(LAYERS) -k "not compil and not export" $(ARGS)
	rm -rf $(FRESH)

compare: $(STAMP) ## blocks side by side: ARGS="--scenes apartments --seeds 3"
	$(PY) -m benchmarks.compare $(ARGS)

votes: $(STAMP) ## votes and fragments with the networks of make compare
	$(PY) -m benchmarks.votes $(ARGS)

apartments: $(STAMP) ## context that differs from room to room, hours: ARGS="--seeds 1 --epochs 8"
	$(PY) -m benchmarks.apartments $(ARGS)

bench: $(STAMP) ## time and memory, into benchmarks/results
	$(PY) -m benchmarks.voxel_conv
	$(PY) -m benchmarks.voxel_unet
	$(PY) -m benchmarks.loading
	$(PY) -m benchmarks.sharding
	$(PY) -m benchmarks.sharded_cost
	$(PY) -m benchmarks.streaming $(ARGS)
	$(PY) -m benchmarks.prepare
	$(PY) -m benchmarks.own_scan
	$(PY) -m benchmarks.looks

tables: $(STAMP) ## parameters and multiply-adds of the seeds' networks, into benchmarks/results
	$(PY) -m benchmarks.seed_tables $(ARGS)

scatter: $(STAMP) ## torch-scatter, built against this torch in 2 to 4 minutes
	@command -v g++ >/dev/null || $(call debian,g++ python3-dev)
	$(PY) -m pip install $(QUIET) setuptools wheel
	$(PY) -m pip install $(QUIET) $(PINS) --no-build-isolation torch-scatter

clean: ## remove build products and caches, not the environment
	rm -rf build dist docs/_build docs/api .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
