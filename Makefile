# make demo    set everything up and analyse the reconstruction of July 2019
# make test    set everything up and run every check
# make fuzz SECONDS=600    fuzz each parser for so long
# make bench MEGABYTES=1000    speed and memory beside other tools, as a table
# make captures    build every capture anew (with new keys)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml $(wildcard kzpcap/capture/*.py kzpcap/capture/*.pxd)
DEMO := captures/kz-2019-rcku/capture.pcapng

.PHONY: demo test lint witness fuzz bench captures clean

demo: $(VENV)/installed
	$(BIN)/kzpcap analyze $(DEMO)

# An editable install leaves the compiled modules beside their sources, where they go stale: build again when those change.
$(VENV)/installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "kzpcap needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/tools: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# tshark and openssl, the second readers of the tests, are no Python packages: root gets them installed, others are told.
witness:
	@command -v tshark >/dev/null && command -v openssl >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq tshark openssl >/dev/null; \
	else echo "tshark or openssl is not installed: their tests are skipped (Debian: apt install tshark openssl)"; fi

test: lint witness
	$(BIN)/python -m pytest -n auto

# Coverage-guided fuzzing of each parser, SECONDS each; findings are written to the working directory.
SECONDS ?= 60
fuzz: $(VENV)/tools
	for target in scan packet tls hellos datagrams control evidence; do \
	  $(BIN)/python tests/fuzz.py $$target $(SECONDS) || exit 1; done

# The other tools are used where they are installed (Debian: wireshark-common tcpdump ssldump libndpi-bin tshark).
MEGABYTES ?= 1000
bench: $(VENV)/tools
	$(BIN)/python benchmarks/bench.py --megabytes $(MEGABYTES)

captures: $(VENV)/tools
	$(BIN)/python captures/make.py

clean:
	rm -rf $(VENV) build *.egg-info kzpcap/capture/*.so kzpcap/capture/*.c
