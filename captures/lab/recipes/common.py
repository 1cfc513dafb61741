"""What most recipes begin with."""

from __future__ import annotations

from typing import Any

from lab.scene import PUBLISHED, Scene

SOCIAL = ("www.facebook.com", "www.google.com", "vk.com")
ALL = (*SOCIAL, "mail.ru", "www.example.org", "en.wikipedia.org")


def usual(scene: Scene, names: tuple[str, ...] = ALL, **spec: Any) -> None:
    """The published path, with these sites eight hops away."""
    scene.path()
    scene.sites(*names, **spec)
    scene.start()


def visit(scene: Scene, *names: str, **step: Any) -> None:
    for name in names:
        scene.connect(name, **step)


def home(scene: Scene, *names: str, **spec: Any) -> None:
    """A home network behind NAT: the router at hop 1 is 192.168.1.1."""
    scene.path(["192.168.1.1+2.72.10.20", *PUBLISHED[1:]], client="192.168.1.10")
    scene.sites(*names, **spec)
