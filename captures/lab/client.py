"""The client: a list of steps, each a connection by OpenSSL (Python), curl, s_client or Chromium, one after the other.

    python -m lab.client STEPS.json

What was tried, and the chain that the client's own TLS stack was shown, goes into the journal.
"""

from __future__ import annotations

import _ssl
import contextlib
import hashlib
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab import journal
from lab.names import query

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
SESSIONS: dict[str, tuple[ssl.SSLContext, ssl.SSLSession]] = {}


def chain_shown(tls: ssl.SSLSocket) -> list[str]:
    # Public only from Python 3.13 on (SSLSocket.get_unverified_chain).
    shown = tls._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
    return [hashlib.sha256(item.public_bytes(_ssl.ENCODING_DER)).hexdigest() for item in shown]


def opened(step: dict[str, Any]) -> socket.socket:
    family = socket.AF_INET6 if ":" in step["server"] else socket.AF_INET
    out = socket.socket(family, socket.SOCK_STREAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    out.settimeout(step.get("seconds", 5))
    out.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", step["sport"]))
    try:
        out.connect((step["server"], step["port"]))
    except OSError as error:
        raise NotConnected(str(error)) from error
    return out


class NotConnected(OSError):
    """The TCP handshake did not end."""


def context(step: dict[str, Any]) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if step.get("verify"):  # a careful client: it refuses what the public does not trust
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations("/run/lab/public.pem")
    made.maximum_version = VERSIONS[step.get("highest", "TLSv1.3")]
    made.set_ciphers("DEFAULT:@SECLEVEL=0")
    if step.get("alpn"):
        made.set_alpn_protocols(step["alpn"])
    if step.get("keylog"):
        made.keylog_filename = "/run/lab/keys.log"
    return made


def python(step: dict[str, Any]) -> dict[str, Any]:
    session = None
    made = context(step)
    if step.get("resume") in SESSIONS:
        made, session = SESSIONS[step["resume"]]
    with opened(step) as plain, made.wrap_socket(plain, server_hostname=step.get("sni"), session=session) as tls:
        shown = {"version": tls.version(), "shown": chain_shown(tls), "resumed": tls.session_reused}
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {step.get('sni')}\r\nConnection: close\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            while tls.recv(16_384):
                pass
        if step.get("keep") and tls.session:
            SESSIONS[step["keep"]] = made, tls.session
        with contextlib.suppress(OSError):
            tls.unwrap()
    return shown


def curl(step: dict[str, Any]) -> dict[str, Any]:
    host = step.get("sni") or step["server"]
    command = ["curl", "-sk", "--max-time", "5", "--local-port", str(step["sport"]), "-o", "/dev/null"]
    command += ["--resolve", f"{host}:{step['port']}:{step['server']}"]
    if step.get("highest") == "TLSv1.2":
        command += ["--tls-max", "1.2"]
    subprocess.run([*command, f"https://{host}:{step['port']}/"], check=False)
    return {}


def s_client(step: dict[str, Any]) -> dict[str, Any]:
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"{step['server']}:{step['port']}",
        "-bind",
        f"0.0.0.0:{step['sport']}",
    ]
    command += ["-servername", step["sni"]] if step.get("sni") else ["-noservername"]
    if step.get("highest") == "TLSv1.2":
        command.append("-tls1_2")
    request = f"GET / HTTP/1.1\r\nHost: {step.get('sni')}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, input=request, text=True, capture_output=True, timeout=4, check=False)
    return {}


def chromium(step: dict[str, Any]) -> dict[str, Any]:
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --ignore-certificate-errors --dump-dom --disable-extensions"
    flags += f" --user-data-dir=/run/lab/chromium-{step['sport']} --disable-features=OptimizationHints"
    rules = f"--host-resolver-rules=MAP {step['sni']} {step['server']},MAP * ~NOTFOUND,EXCLUDE {step['server']}"
    command = ["chromium", *flags.split(), rules, f"https://{step['sni']}/"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=30, check=False)
    return {}


def plain(step: dict[str, Any]) -> dict[str, Any]:
    """HTTP on port 80."""
    with opened(step) as out:
        out.sendall(f"GET / HTTP/1.1\r\nHost: {step.get('sni')}\r\nConnection: close\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            while out.recv(16_384):
                pass
    return {}


def resolve(step: dict[str, Any]) -> dict[str, Any]:
    """Ask a name server; the answer is not used: the other steps name their server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.settimeout(2)
        out.sendto(query(step["sni"], step["sport"]), (step["server"], 53))
        with contextlib.suppress(OSError):
            out.recv(4096)
    return {}


def traceroute(step: dict[str, Any]) -> dict[str, Any]:
    """UDP to the ports of the old traceroute, or ICMP echo; one probe a TTL."""
    how = socket.IPPROTO_ICMP if step.get("how") == "icmp" else 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW if how else socket.SOCK_DGRAM, how) as out:
        for ttl in range(1, step.get("most", 12) + 1):
            out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            echo = struct.pack(">BBHHH", 8, 0, 0xFFFF - 0x0800 - 0x4C42 - ttl & 0xFFFF, 0x4C42, ttl)
            with contextlib.suppress(OSError):
                out.sendto(echo if how else bytes(32), (step["server"], 0 if how else 33_433 + ttl))
            time.sleep(0.05)
    return {}


TOOLS = {tool.__name__: tool for tool in (python, curl, s_client, chromium, plain, resolve, traceroute)}


def main(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        time.sleep(step.get("wait", 0.05))
        if "switch" in step:  # the box rests, or works again
            off = Path("/run/lab/box-off")
            off.unlink(missing_ok=True) if step["switch"] == "on" else off.touch()
            continue
        outcome: dict[str, Any] = {}
        try:
            outcome = TOOLS[step["tool"]](step)
        except (OSError, ssl.SSLError) as error:
            outcome = {"error": f"{type(error).__name__}: {error}", "connected": not isinstance(error, NotConnected)}
        if step["tool"] in ("python", "curl", "s_client"):
            ends = ("client", step["sport"]), (step["server"], step["port"])
            more = {"server_name": step.get("sni"), "tool": step["tool"], **outcome}
            journal.note("client", "tried", *ends, **more)


if __name__ == "__main__":
    os.chdir("/run/lab")
    main(json.loads(Path(sys.argv[1]).read_text()))
