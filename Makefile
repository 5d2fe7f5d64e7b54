# Two commands matter to a stranger: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test unit lab lint format docs bench clean

$(BIN)/deploy: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(BIN)/deploy ## a fleet of three real hosts on this machine, from first apply to rollback
	@$(BIN)/python -m orchestrator.lab.demo

test: $(BIN)/deploy ## the whole suite, unit and lab
	$(BIN)/python -m pytest

unit: $(BIN)/deploy ## what needs neither root nor an engine
	$(BIN)/python -m pytest tests/unit

lab: $(BIN)/deploy ## what needs real hosts
	$(BIN)/python -m pytest tests/lab

lint: $(BIN)/deploy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/deploy
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(BIN)/deploy ## write the generated references anew
	$(BIN)/python docs/generate.py

bench: $(BIN)/deploy ## print the tables of docs/benchmarks.md, measured on this machine
	$(BIN)/python tests/benchmarks/run.py

clean:
	rm -rf $(VENV) .lab dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
