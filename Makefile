# make demo    set everything up and analyse the reconstruction of July 2019
# make test    set everything up and run every check
# make fuzz SECONDS=600    fuzz each parser for so long
# make bench MEGABYTES=1000    speed and memory beside other tools, as a table
# make soak KILLS=50    kill a batch run and the service at so many random moments; 100 uploads at once
# make captures    build every capture that is built packet by packet anew (with new keys)
# make lab [NAME=lab-kz-take-over]    record the others anew, in network namespaces (root, Linux)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILED := kzpcap/capture kzpcap/tls kzpcap/report kzpcap/verdict kzpcap
SOURCES := pyproject.toml kzpcap/report/model.py kzpcap/verdict/features.py $(wildcard $(addsuffix /*.pxd,$(COMPILED))) $(patsubst %.pxd,%.py,$(wildcard $(addsuffix /*.pxd,$(COMPILED))))
DEMO := captures/kz-2019-rcku/capture.pcapng

.PHONY: demo test lint witness browser fuzz bench soak captures lab products clean

demo: $(VENV)/installed
	$(BIN)/kzpcap analyze $(DEMO)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "kzpcap needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# An editable install leaves the compiled modules beside their sources, where they go stale: build again when those change.
# Cython does not see that a .pxd changed which a module only cimports, so its output goes first.
INSTALL = rm -f $(addsuffix /*.c,$(COMPILED)); $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

$(VENV)/installed: $(SOURCES) | $(BIN)/python
	$(INSTALL) .
	touch $@

$(VENV)/tools: $(SOURCES) | $(BIN)/python
	$(INSTALL) '.[dev]'
	touch $(VENV)/installed $@

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is no Python package: root gets it installed, others are told. $(1): commands, $(2): the Debian packages they
# are in, $(3): what becomes of it without them.
define debian
	@for command in $(1); do command -v $$command >/dev/null || lacking=yes; done; [ -z "$$lacking" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null; \
	else echo "not all of these are installed: $(1); $(3) (Debian: apt install $(2))"; fi
endef

# The second readers of the tests, and what the laboratory cannot do without.
witness:
	$(call debian,tshark openssl,tshark openssl,their tests are skipped)
	$(call debian,ip iptables ethtool tcpdump dumpcap curl,iproute2 iptables ethtool tcpdump wireshark-common curl,the laboratory's own tests are skipped)

# The products and the browser, which some captures need.
products:
	$(call debian,mitmdump sslsplit squid chromium,mitmproxy sslsplit squid-openssl chromium,some captures cannot be recorded)

# Through which the pages of the service are tested.
browser:
	$(call debian,chromium,chromium fonts-dejavu-core,the tests of pages are skipped)

test: lint witness browser
	$(BIN)/python -m pytest -n auto

# Coverage-guided fuzzing of each parser, SECONDS each; findings are written to the working directory.
SECONDS ?= 60
fuzz: $(VENV)/tools
	for target in scan packet tls hellos datagrams control certificates evidence scrubbed; do \
	  $(BIN)/python tests/fuzz.py $$target $(SECONDS) || exit 1; done

# The other tools are used where they are installed (Debian: wireshark-common tcpdump ssldump libndpi-bin tshark).
MEGABYTES ?= 1000
bench: $(VENV)/tools
	$(BIN)/python benchmarks/bench.py --megabytes $(MEGABYTES)

KILLS ?= 50
soak: $(VENV)/tools
	SOAK_KILLS=$(KILLS) SOAK_SEED=$$(date +%s) $(BIN)/python -m pytest -q tests/test_cases.py tests/test_upload_limits.py \
	  -k "killed_at_random or two_runs"
	$(BIN)/python benchmarks/uploads.py --count 100 --megabytes 20

captures: $(VENV)/tools
	$(BIN)/python captures/make.py

lab: $(VENV)/tools witness products
	PYTHONPATH=captures $(BIN)/python -m lab $(NAME)

clean:
	rm -rf $(VENV) build *.egg-info $(addsuffix /*.so,$(COMPILED)) $(addsuffix /*.c,$(COMPILED))
