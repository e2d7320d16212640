# make        build .venv with everything, ROS 2 included (from wheels)
# make test   style checks and all fast tests
# make demo   a real camera clip through camera, mapper and client over DDS; results in build/demo; VIEW=1 opens a window
# make clean  remove what was built, .venv too
#
# PYTHON=python3.12 chooses the Python (3.10 to 3.13). PIP_OPTIONS goes to every pip install: where PyTorch's own index can be reached,
#   make PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
# takes its CPU build, which is several GB smaller than the CUDA build of PyPI.

PYTHON ?= python3
PIP_OPTIONS ?=
VENV := .venv
RUN := $(VENV)/bin/python
PIP_INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_OPTIONS)

SOURCES := $(shell find sab3r_ros src msg srv interfaces launch config resource scripts -type f \
	-not -name '*.pyc' -not -name '*.so' -not -path 'sab3r_ros/msg/*' -not -path 'sab3r_ros/srv/*')
PACKAGE := setup.py build_interfaces.py pyproject.toml package.xml constraints.txt

.PHONY: all test demo clean
all: $(VENV)/.installed

# A stamp is written when its step is complete: a second make does nothing, an interrupted one goes on where it was.
$(VENV)/.python: tools/system_packages.sh
	sh tools/system_packages.sh $(PYTHON)
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python $(PACKAGE) $(SOURCES)
	@echo "installing into $(VENV); the first time takes some minutes"
	$(PIP_INSTALL) ".[test]"
	touch $@

test: all
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest -q

demo: all
	$(RUN) -m sab3r_ros.ros.demo $(if $(VIEW),--view)

clean:
	rm -rf build install log *.egg-info $(VENV)
