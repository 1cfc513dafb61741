"""Real products as transparent proxies: mitmproxy, sslsplit, squid, each with a CA of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lab import pki
from lab.network import WORK, run
from lab.scene import Interceptor, Scene


def intercept(scene: Scene, hop: int, kind: str, **known: Any) -> None:
    """mitmproxy, sslsplit or squid as a transparent proxy on a router, each with a CA of its own."""
    router, folder = f"r{hop}", WORK / kind
    folder.mkdir()
    address = scene.network.hosts[router].addresses[0]
    scene.used.add(kind)
    if kind == "mitmproxy":
        command = ["mitmdump", "--mode", "transparent", "--listen-port", "8443", "--set", f"confdir={folder}"]
        command += ["--set", "ssl_insecure=true", "--set", "connection_strategy=lazy", "-q"]
        command += ["--set", "block_global=false"]  # the clients have public addresses
        scene.network.spawn(router, *command)
    else:
        name = {"sslsplit": "LAB Filter CA", "squid": "LAB Company Gateway CA"}[kind]
        authority = pki.Authority.root(pki.name(name, "LAB Company"))
        (folder / "ca.pem").write_bytes(pki.pem(authority.certificate))
        (folder / "ca.key").write_bytes(pki.key_pem(authority.key))
        (folder / "both.pem").write_bytes(pki.key_pem(authority.key) + pki.pem(authority.certificate))
    if kind == "sslsplit":
        command = ["sslsplit", "-k", f"{folder}/ca.key", "-c", f"{folder}/ca.pem", "-P", "-u", "root"]
        scene.network.spawn(router, *command, "ssl", address, "8443")
    elif kind == "squid":
        squid(scene, router, folder)
    listening(scene, router, 8443)
    scene.iptables(router, f"-t nat -A PREROUTING -p tcp --dport 443 -j DNAT --to-destination {address}:8443")
    scene.box = scene.box or Interceptor(kind, hop, **known)


def antivirus(scene: Scene) -> None:
    """mitmproxy on the client itself: what leaves for port 443 goes through it, over the loopback."""
    folder = WORK / "antivirus"
    folder.mkdir()
    run("chown", "proxy", str(folder))
    scene.used.add("mitmproxy")
    command = ["setpriv", "--reuid", "proxy", "--keep-groups", "mitmdump", "--mode", "transparent", "-q"]
    command += ["--listen-host", "127.0.0.1", "--listen-port", "8443", "--set", f"confdir={folder}"]
    scene.network.spawn("client", *command, "--set", "ssl_insecure=true", "--set", "block_global=false")
    listening(scene, "client", 8443)
    rule = "-t nat -A OUTPUT -p tcp --dport 443 -m owner ! --uid-owner proxy -j DNAT --to-destination"
    scene.iptables("client", f"{rule} 127.0.0.1:8443")
    scene.local = Interceptor("mitmproxy", 0, own_network=True)


def squid(scene: Scene, router: str, folder: Path) -> None:
    certificates = "/usr/lib/squid/security_file_certgen"
    run(certificates, "-c", "-s", f"{folder}/db", "-M", "4MB")
    lines = [
        f"https_port 8443 intercept ssl-bump generate-host-certificates=on tls-cert={folder}/both.pem",
        "http_port 3128",
        "acl one at_step SslBump1",
        "ssl_bump peek one",
        "ssl_bump bump all",
        "http_access allow all",
        "sslproxy_cert_error allow all",
        f"tls_outgoing_options cafile={WORK}/public.pem",
        f"sslcrtd_program {certificates} -s {folder}/db -M 4MB",
        f"pid_filename {folder}/pid",
        "cache_log /dev/null",
        "access_log none",
        "cache deny all",
        f"coredump_dir {folder}",
        "host_verify_strict off",
        "visible_hostname lab",
        "shutdown_lifetime 0 seconds",
        "pinger_enable off",
    ]
    (folder / "squid.conf").write_text("\n".join(lines) + "\n")
    run("chown", "-R", "proxy", str(folder))  # it refuses to run as root
    scene.network.spawn(router, "squid", "-N", "-f", f"{folder}/squid.conf")


def listening(scene: Scene, host: str, port: int, seconds: float = 15.0) -> None:
    """Wait until something listens there."""
    until = time.monotonic() + seconds
    while f":{port:04X} " not in _listeners(scene, host):
        if time.monotonic() > until:
            raise RuntimeError(f"nothing listens on port {port} of {host}")
        time.sleep(0.05)


def _listeners(scene: Scene, host: str) -> str:
    tables = scene.network.inside(host, "cat", "/proc/net/tcp", "/proc/net/tcp6", check=False).stdout
    return "\n".join(line for line in tables.splitlines() if " 0A " in line)
