.DEFAULT_GOAL := help
.PHONY: help env env-dev demo ablation test test-all check docs

VENV ?= .venv
export VENV PYTHON CPU CPU_INDEX LOCKED
# As stseg/utils/threads.py: what else runs on the machine should not slow us down more than it must.
ifeq ($(origin GOMP_SPINCOUNT)$(origin OMP_WAIT_POLICY),undefinedundefined)
export GOMP_SPINCOUNT = 10000
endif

# A process per core, one thread each: models in tests are too small for more threads to pay.
TESTS = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n logical --maxprocesses 8 --dist worksteal

help: ## list the targets
	@grep -hE "^[a-z-]+:.*## " $(MAKEFILE_LIST) | sed -E "s/^([a-z-]+):.*## /  make \1\t/"
	@echo "Options:"
	@echo "  PYTHON=/path/to/python3.11"
	@echo "  ARGS='-k parity'  is added to the command"
	@echo "  CPU=1     a new .venv without the CUDA stack: PyTorch from its own index, or CPU_INDEX=..."
	@echo "  LOCKED=1  the tested versions, by hash: dev/lock"

env: ## create .venv with what running needs, if that is not done yet
	@bash dev/setup_env.sh

env-dev: ## the same with developers' tools
	@bash dev/setup_env.sh dev

demo: env ## segment fresh miniature scenes with names never seen in training
	@$(VENV)/bin/python -W ignore::FutureWarning -m demo.small_world $(ARGS)

ablation: env ## run the paper's ablation in miniature, six seeds; what it costs is told first
	@$(VENV)/bin/python -W ignore::FutureWarning -m benchmarks.ablation --seeds 6 $(ARGS)

test: env-dev ## run the tests and say what was skipped
	@$(TESTS) $(ARGS)

test-all: env-dev ## run the slow tests too
	@$(TESTS) -m "not gpu" $(ARGS)

check: env-dev ## lint, types, import direction, copied code
	@bash dev/check.sh

docs: env-dev ## build the pages of documentation into output/docs; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet
	@echo "Open output/docs/index.html"
