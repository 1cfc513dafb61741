"""Hosts in network namespaces, real TLS, real interception: what `make lab` records."""
