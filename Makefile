# The two commands of the README, and what they are made of. Everything is installed into .venv/, nothing elsewhere.
# Each test starts many processes: with bytecode on disk each of them begins 2 to 6 s of CPU earlier.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV ?= .venv
UV = UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip
export PATH := $(abspath $(VENV))/bin:$(PATH)
MODULES = $(shell find notebooks -name '*.ipynb' -not -path '*/.*')

.PHONY: demo test unit test-3.13 bench-runs bench-serve bench-deploy bench-forest export kernel show docs lock lab clean

demo: $(VENV)/.ready  ## from nothing to a live prediction on this machine
	mlkit run prepare
	mlkit train
	mlkit validate
	mlkit register --to champion
	mlkit deploy local
	mlkit status local

test: $(VENV)/.ready  ## everything: unit, notebooks, integration
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder  # a file's fixtures are hosts and images

unit: $(VENV)/.ready  ## what needs no engine, no root and no minute
	pytest -m "not integration and not notebooks"

test-3.13:  ## unit and notebook tests on Debian 13's Python, in a root of its own; 12 minutes, needs root and mmdebstrap
	.ci/python-3.13

bench-runs: $(VENV)/.ready  ## what a kept record costs, and a list of ten thousand
	python bench/run_overhead.py
	python bench/list_runs.py

bench-serve: $(VENV)/.ready  ## the server beside every Python peer, 12 minutes on two cores; needs Debian's package wrk
	python bench/serve $(BENCH)

bench-forest: $(VENV)/.ready  ## the forest beside LightGBM's C library, same rows, one core: ratios, and a search for a bit that differs
	python bench/forest $(BENCH)

bench-deploy: $(VENV)/.ready  ## deployments on three hosts: lost requests, time, faults at each step; an hour, needs root, an engine, wrk
	python bench/deploy/model_change.py
	python bench/deploy/switches.py
	python bench/deploy/faults.py

lab: $(VENV)/.ready  ## JupyterLab on the pipelines
	jupyter lab notebooks/pipelines/train.ipynb

export: $(VENV)/.ready  ## notebooks → library and tests; run it after every change of a notebook
	ruff format -q notebooks
	ruff check -q --select I --fix notebooks
	nbdev-export
	ruff format -q mlkit tests
	ruff check -q --select I --fix mlkit tests
	nbdev-clean

kernel: $(VENV)/.ready  ## forest.c → its builds for x86-64 and arm64, by zig from the package index; run it after every change of forest.c
	python deploy/kernel/build.py

show: $(VENV)/.ready  ## what the notebooks show now is kept in them: the show cells of modules, and the pipelines
	python tests/notebooks/shown.py $(filter-out notebooks/pipelines/%,$(MODULES))
	python tests/notebooks/shown.py --pipelines

docs: $(VENV)/.ready  ## the documentation site in build/site; links that lead nowhere are an error
	python docs/make_site.py
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict -q

lock: $(VENV)/.ready  ## new pins for all dependencies, for Python 3.11 to 3.13
	touch setup.py  # uv does not know that settings.ini belongs to it
	$(UV) compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra dev setup.py -o requirements.lock
	$(UV) compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  -c requirements.lock --no-emit-package scipy --no-emit-package narwhals \
	  deploy/image/requirements.txt -o deploy/image/requirements.lock

clean:  ## the environment and what was made here; never the store
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache

$(VENV)/.ready: requirements.lock settings.ini setup.py
	@echo "making $(VENV) with $$($(PYTHON) --version): half a minute when nothing is cached"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check uv==0.13.9
	$(UV) install -q --compile-bytecode --require-hashes -r requirements.lock
	$(UV) install -q --no-deps -e .
	@touch $@
