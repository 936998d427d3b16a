# `make train` and `make test` do all the set-up themselves, once.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
EXTRAS := $(VENV)/.extras
# pip would complain each time of what learn2learn declares and nobody uses.
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-warn-conflicts
ARGS ?=
CHAOS ?= chaos chaos_ranks
COMMIT ?= HEAD
CELLS := $(foreach shots,1 5,$(foreach algo,maml fomaml reptile_transductive,omniglot_5w$(shots)s_$(algo)_budget))

.DEFAULT_GOAL := help
.PHONY: help train test slow numerics extras bench chaos fuzz bits cluster browser reference results lint wheel clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

train: $(INSTALLED) ## meta-train and test; overrides through ARGS="algo=reptile"
	@$(VENV)/bin/fewshot train $(ARGS)

test: $(INSTALLED) ## run the tests; pytest's options through ARGS
	@$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow and not cluster and not browser" $(ARGS)

slow: $(INSTALLED) ## run the tests that are long by nature: compilation, launchers, the README
	@$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist worksteal -m "slow and not cluster and not browser" $(ARGS)

cluster: $(EXTRAS) ## the tests on a real SLURM and a real Ray of two hosts, as root; installs what they need
	@tests/cluster/packages.sh
	@$(VENV)/bin/pytest -m cluster $(ARGS) tests/cluster

browser: $(INSTALLED) ## the page of compare --html in a headless Chromium; installs what it needs
	@tests/browser/packages.sh
	$(PIP) playwright==1.65.2
	@$(VENV)/bin/pytest -m browser $(ARGS) tests/browser

numerics: $(INSTALLED) ## the numerical tests as other processors and threads would compute
	@$(VENV)/bin/python tests/numerics.py $(ARGS)

extras: $(EXTRAS) ## install Ray and JAX too, and run the tests that need them
	@$(VENV)/bin/pytest tests/sweeps/test_sweep.py tests/benchmarks -k "ray or jax"

bench: $(EXTRAS) ## measure against learn2learn, torch.func and JAX, about 20 minutes; options through ARGS
	@$(VENV)/bin/python -m benchmarks $(ARGS)

chaos: $(INSTALLED) ## kill runs and ranks at random moments, resume, compare; options through ARGS
	@for each in $(CHAOS); do PYTHONPATH=. $(VENV)/bin/python tests/$$each.py $(ARGS) || exit; done

fuzz: $(INSTALLED) ## 10,000 odd override lines; options through ARGS
	@PYTHONPATH=. $(VENV)/bin/python tests/fuzz.py $(ARGS)

bits: $(INSTALLED) ## compare the bits of all kinds of runs with those of COMMIT=...
	@PYTHONPATH=tests $(VENV)/bin/python tests/bits.py $(COMMIT)

reference: $(INSTALLED) ## write docs/keys.md anew from the schema
	@PYTHONPATH=tests $(VENV)/bin/python tests/reference.py

results: $(INSTALLED) ## the real runs of docs/results.md, for hours; OMNIGLOT=DIR has its images
	@for cell in $(CELLS); do $(VENV)/bin/fewshot reproduce $$cell data.root=$(OMNIGLOT) || exit; done
	@for seed in 1 2 3; do for cell in maml fomaml reptile finetune; do \
	$(VENV)/bin/fewshot reproduce sinusoid_$$cell seed=$$seed || exit; done; done

lint: $(INSTALLED) ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

wheel: $(INSTALLED) ## build the wheel into dist/
	@$(VENV)/bin/python -m build --wheel

clean: ## take away what was built and installed; outputs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt requirements-no-deps.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 14) or sys.exit( \
	"fewshot needs Python 3.11 to 3.14, and $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-no-deps.txt
	@touch $@

$(EXTRAS): $(INSTALLED)
	$(PIP) -r requirements.txt -e '.[ray,bench]'
	@touch $@
