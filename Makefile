# `make demo` trains an agent and shows the result; `make test` runs every check, `make report` rebuilds the
# documentation's figures and tables from stored results. Each makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAISS := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: demo test report clean

demo: $(VENV)/.installed-$(FAISS)
	$(BIN)/python train.py experiment=demo
	$(BIN)/python evaluate.py run=latest episodes=20

test: $(VENV)/.installed-dev-$(FAISS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

report: $(VENV)/.installed-dev-$(FAISS)
	$(BIN)/python -m benchmarks.report

$(VENV)/.installed-$(FAISS): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$(FAISS)]' --constraint constraints.txt
	touch $@

$(VENV)/.installed-dev-$(FAISS): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$(FAISS),dev,compare]' --constraint constraints.txt
	touch $@ $(VENV)/.installed-$(FAISS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
