# One command per chore. `make` alone lists them; a variable given on the command line reaches the program:
#   make serve DATA=mathlib-corpus.tar.gz PORT=9000

VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

# The interpreter of .venv; empty: the first one on PATH that is new enough.
PYTHON ?=
# An index with the torch build that the machine needs, for example https://download.pytorch.org/whl/cpu
TORCH_INDEX_URL ?=
# Where the installed torch came from, if it was named.  Naming another one installs anew.
TORCH_INDEX = $(VENV)/.torch-index
# Test files run in two processes: fault tests mostly wait.  A file stays in one, with the servers that its tests share.
SIDE_BY_SIDE = --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: $(INSTALLED) ## create .venv with everything in it (TORCH_INDEX_URL= chooses the torch build)
	@echo "installed in $(VENV)"

.PHONY: FORCE
ifneq ($(TORCH_INDEX_URL),)
ifneq ($(TORCH_INDEX_URL),$(shell cat $(TORCH_INDEX) 2>/dev/null))
$(INSTALLED): FORCE
endif
endif

# torch comes first and alone when it has an index of its own: that index has no pinned versions of anything else.  It
# replaces a torch of the same version from elsewhere.
$(INSTALLED): pyproject.toml constraints.txt
	@set -e; \
	if ! [ -x $(BIN)/python ]; then \
	  found=; candidates="$(PYTHON)"; \
	  for candidate in $${candidates:-python3.11 python3.12 python3.13 python3.14 python3 python}; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Python 3.11 or newer is needed: install it, or name it with make install PYTHON=<path>." >&2; exit 1; fi; \
	  echo "creating $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	fi; \
	if [ -n "$(TORCH_INDEX_URL)" ]; then \
	  $(BIN)/python -m pip install --no-deps --force-reinstall --index-url "$(TORCH_INDEX_URL)" -c constraints.txt torch; \
	  echo "$(TORCH_INDEX_URL)" > $(TORCH_INDEX); \
	fi; \
	$(BIN)/python -m pip install -c constraints.txt -e '.[api,worker,demo,monitoring,evaluation,dev]'; \
	touch $@

.PHONY: serve
serve: $(INSTALLED) ## run the whole server here (DATA= PORT= EMBEDDINGS= MODEL_ID= DATA_DIR= FLOWER=1 and every other setting)
	@exec $(BIN)/premises serve

.PHONY: check
check: $(INSTALLED) ## lint, format, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

.PHONY: test-faults
test-faults: $(INSTALLED) ## kill, freeze and flood the server, in full (9 minutes); writes the table of docs/reliability.md
	FAULTS=full $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/acceptance tests/integration/test_openapi.py

.PHONY: bench
bench: $(INSTALLED) ## measure against the alternatives (DATA=<folder with mathlib-corpus.tar.gz>), write docs/performance.md
	$(BIN)/python -m tests.benchmarks $(if $(DATA),--data "$(DATA)")

.PHONY: clean
clean: ## remove .venv and caches; served data in .state stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find api shared worker tests -name __pycache__ -type d -prune -exec rm -rf {} +
