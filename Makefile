# ReAffect's commands. `make help` lists them.
PYTHON  ?= python3.11
PROFILE ?= tiny
CORES   ?= $(shell nproc)
BIN     := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export HF_HUB_DISABLE_TELEMETRY = 1
# The licensed corpora (and everything built) lie where DATA points; without it, under data/.
ifdef DATA
export REAFFECT_DATA = $(DATA)
endif
ifneq ($(PROFILE),paper)
# Only the paper profile may fetch: its checkpoints, from the hub.
export HF_HUB_OFFLINE = 1
# Small models take and free the same large blocks in every step; glibc would give each back to the system and ask anew.
# Not where memory is measured: a heap that keeps what is freed hides what grows.
reproduce embedded test: export MALLOC_MMAP_MAX_ = 0
reproduce embedded test: export MALLOC_TRIM_THRESHOLD_ = 1073741824
endif
SNAKEMAKE = $(BIN)/snakemake --quiet host --config profile=$(PROFILE) --cores $(CORES)

.PHONY: help install reproduce embedded test check rehearse lint notebooks bench bench-gpu lab lock clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed  ## the environment, exactly as locked, in .venv
.venv/installed: requirements.lock pyproject.toml
	@echo "Installing the locked environment into .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

reproduce: install  ## every notebook of PROFILE (tiny, paper), with what it needs; results in reports/PROFILE
	@$(SNAKEMAKE)
	@$(BIN)/python -m reaffect.scoreboard
	@echo "Done. Read reports/SCOREBOARD.md; tables, figures and executed notebooks lie in reports/$(PROFILE)/."

embedded: install  ## only the embedded corpora and small checkpoints
	@$(SNAKEMAKE) embedded

test: lint embedded  ## everything that proves it works
	TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder --durations=12

check: install  ## what the paper profile needs and lacks: DATA=..., NOTEBOOKS="02 05", ALL=1 decodes each clip
	@HF_HUB_OFFLINE=0 $(BIN)/python -m reaffect.preflight $(NOTEBOOKS) $(if $(ALL),--all)

rehearse: install  ## will the paper profile fit on the GPU, and how long will it take: reports/rehearsal/; NOTEBOOKS="02 05"; without one CARD="RTX 4090"
	@$(BIN)/python -m reaffect.rehearsal $(NOTEBOOKS) $(if $(CARD),--card "$(CARD)")

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check lib tests bench

notebooks: reproduce  ## the committed notebooks anew, with this machine's outputs
	for number in $$(ls notebooks | grep -o '^[0-9][0-9]'); do \
	  cp reports/tiny/notebooks/$$number.ipynb notebooks/$${number}_*.ipynb; done
	$(BIN)/python -m reaffect.normalise notebooks/*.ipynb

bench: install embedded  ## speed and memory, as ratios measured in one run
	@for topic in media probes generation features viper deid microemo tuning omni_emotion curation; do $(BIN)/python -m bench.$$topic || exit 1; done

bench-gpu: install  ## the papers' models at their size on one GPU, against its roofline: reports/bench/gpu.json
	@$(BIN)/python -m bench.gpu

lab: install embedded  ## the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir notebooks

lock: install  ## requirements.lock anew from pyproject.toml: versions and hashes, no addresses
	$(BIN)/uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --quiet --output-file requirements.lock

clean:  ## forget what was built (not the environment)
	rm -rf data .snakemake .cache reports/*/notebooks
