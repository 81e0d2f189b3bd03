# `make demo` puts the fast/slow agent beside PPO on a wall that shifts; `make test` runs every check, `make report` rebuilds the
# documentation's figures and tables from stored results, `make site` the documentation as a site. Each makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAISS := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: demo test report site clean

demo: $(VENV)/.installed-$(FAISS)
	$(BIN)/python -m benchmarks.shift env=shiftwall agents=[fast_slow,ppo,random] seeds=3 out=runs/demo/rows.jsonl
	$(BIN)/python -m benchmarks.fast_slow_figure out=runs/demo/what_it_remembers.png
	rm -rf runs/demo/runs
	$(BIN)/engram train -m agent=fast_slow,ppo env=shiftwall steps=4000 progress=false hydra.sweep.dir=runs/demo/runs
	$(BIN)/engram compare runs/demo/runs out=runs/demo/comparison.png
	@echo "In TensorBoard: $(BIN)/tensorboard --logdir runs/demo/runs   (then http://localhost:6006)"

test: $(VENV)/.installed-dev-$(FAISS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p engram_rl
	$(BIN)/mypy benchmarks examples train.py evaluate.py
	$(BIN)/python -m pytest -m cluster
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not cluster" -n 2 --dist worksteal

report: $(VENV)/.installed-dev-$(FAISS)
	$(BIN)/python -m benchmarks.report

site: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

# A virtual environment of an old, broken or half-made Python is made anew rather than left to fail later.
define make_venv
	@$(PYTHON) $(RECENT) 2>/dev/null || { echo "Engram needs Python 3.11 or later, but $(PYTHON) is \
	$$($(PYTHON) --version 2>&1). Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python $(RECENT) 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || \
	$(PYTHON) -m venv --clear $(VENV)
endef

$(VENV)/.installed-$(FAISS): pyproject.toml constraints.txt
	$(make_venv)
	$(BIN)/python -m pip install --quiet --editable '.[$(FAISS)]' --constraint constraints.txt
	touch $@

$(VENV)/.installed-dev-$(FAISS): pyproject.toml constraints.txt
	$(make_venv)
	$(BIN)/python -m pip install --quiet --editable '.[$(FAISS),dev,cluster,compare,docs,mutants,wandb]' --constraint constraints.txt
	touch $@ $(VENV)/.installed-$(FAISS)

$(VENV)/.installed-docs: $(VENV)/.installed-$(FAISS)
	$(BIN)/python -m pip install --quiet --editable '.[$(FAISS),docs]' --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
