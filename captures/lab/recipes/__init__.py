"""The captures, one function each: the first line of its docstring is the capture's title, the rest its README."""

from __future__ import annotations

from collections.abc import Callable

from lab.recipes import blocking, boxes, innocents, paths, products, views
from lab.scene import Scene

RECIPES: dict[str, Callable[[Scene], None]] = {
    **boxes.RECIPES,
    **paths.RECIPES,
    **blocking.RECIPES,
    **innocents.RECIPES,
    **products.RECIPES,
    **views.RECIPES,
}
# Commands that a capture needs beside those that all do.
NEEDS: dict[str, tuple[str, ...]] = {
    "lab-kz-take-over": ("curl", "openssl"),
    "lab-kz-terminate": ("curl", "openssl"),
    "lab-clean": ("curl",),
    "lab-mitmproxy": ("mitmdump",),
    "lab-tls13": ("mitmdump",),
    "lab-antivirus": ("mitmdump",),
    "lab-antivirus-and-box": ("mitmdump",),
    "lab-sslsplit": ("sslsplit",),
    "lab-masked-box": ("sslsplit",),
    "lab-squid": ("squid",),
    "lab-chromium": ("chromium",),
}
