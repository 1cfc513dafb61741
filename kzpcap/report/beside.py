"""What a connection's answer is to be read with: a proxy between, another protocol before, a name in pieces."""

from __future__ import annotations

from kzpcap.report.text import safe

PROXIES = {"http-connect": "an HTTP CONNECT proxy", "socks4": "a SOCKS 4 proxy", "socks5": "a SOCKS 5 proxy"}


def beside(upgrade: str | None, requested: str | None, split: bool) -> list[str]:
    """In sentences; of the report's `upgrade`, `requested_name` and `server_name_split`."""
    said = []
    if upgrade in PROXIES:
        asked = f", which was asked for {safe(requested)}" if requested else ""
        said.append(f"through {PROXIES[upgrade]}{asked}: the address is the proxy's, and no hop is counted beyond it")
    elif upgrade == "proxy-protocol":
        said.append("behind a balancer that says for whom it asks (PROXY protocol)")
    elif upgrade is not None:
        said.append(f"TLS began within {safe(upgrade)}")
    if split:
        said.append("the name is whole in no packet: a box that looks at packets alone does not see it")
    return said
