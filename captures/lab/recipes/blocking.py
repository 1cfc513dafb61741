"""Resets, silence, pages and alerts for a name."""

from __future__ import annotations

from lab.recipes.common import SOCIAL, usual, visit
from lab.scene import Scene


def reset_in_path(scene: Scene) -> None:
    """Resets at hop 4 for targets; the ClientHello goes no further

    Three resets for each ClientHello, with an initial TTL of their own, a random IP ID and DF clear.
    """
    usual(scene, (*SOCIAL, "www.example.org"))
    scene.blocker(4, "reset", initial_ttl=128, offsets=[0, 1460, 4380])
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org", highest="TLSv1.2")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def reset_on_path(scene: Scene) -> None:
    """Resets from beside the path at hop 5: the ClientHello travels on, and the origin answers too

    The ladder shows the reset and the router's Time Exceeded for the same probe.
    """
    usual(scene, (*SOCIAL, "www.example.org"))
    scene.delay("r7", 10)
    scene.blocker(5, "reset", in_path=False, initial_ttl=64)
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org", highest="TLSv1.2")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def reset_copied_ttl(scene: Scene) -> None:
    """A box at hop 3 that copies the TTL of the probe into its reset

    A probe with TTL t reaches it with t - 2, and so does its answer's way back begin: only from t = 5 on does the reset
    arrive. Nothing but the ladder shows where it is.
    """
    usual(scene, ("www.facebook.com", "www.example.org"))
    scene.blocker(3, "reset", initial_ttl="copy")
    with scene.record():
        seen = {
            "interceptor_ttl": 5,
            "bound": "at_or_before",
            "inferred_hop": 3,
            "last_clean_hop": None,
            "first_intercepted_hop": {"ttl": 5, "address": "95.56.243.92"},
        }
        scene.ladder("www.facebook.com", "www.example.org", "connection", expect=seen, seconds=0.5)


def dropped(scene: Scene) -> None:
    """Targets are dropped in silence at hop 5, between controls that get through

    A single silence may be loss. Here a name server gives the addresses, the target fails three times, and the controls
    between its failures get through: that is what it takes to call silence interference.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    table = {"www.facebook.com": "157.240.205.35", "www.example.org": "93.184.215.14"}
    scene.names("185.120.76.2", table)
    scene.start()
    scene.names("185.120.76.2", table)
    scene.blocker(5, "drop")
    with scene.record():
        for name in table:
            scene.resolve(name, "185.120.76.2")
        for _ in range(3):
            scene.accept[scene.connect("www.facebook.com", seconds=1.5)] = ["interfered"]
            scene.connect("www.example.org")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection", seconds=0.5)


def block_page(scene: Scene) -> None:
    """A page in plain HTTP where a ServerHello should be, injected at hop 4

    The answer to a TLS ClientHello begins with HTTP/1.1: no server of TLS does that. It comes from nearer than the SYN-ACK,
    with DF clear.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.blocker(4, "page")
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def alert(scene: Scene) -> None:
    """A TLS alert (handshake_failure) injected at hop 4

    An alert can be the server's own refusal; here it comes from another sender than the SYN-ACK, with DF clear and
    another TTL, and the connection is closed in the same segment.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.blocker(4, "alert")
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def residual(scene: Scene) -> None:
    """After a target's name the pair of hosts is blocked for 90 seconds, whatever the name

    So the control to the same server fails too, at its SYN, until the time is over: its failing says nothing of its name.
    The server hosts both names, and shows a genuine certificate before and after.
    """
    server = "157.240.205.35"
    scene.path()
    scene.site("www.facebook.com", highest="TLSv1.2")
    scene.site("www.example.org", address=server, highest="TLSv1.2")
    scene.start()
    scene.blocker(4, "drop", residual=90)
    scene.must = {"blocked": 3, "answered": 2}
    with scene.record():
        scene.connect("www.example.org", server)
        scene.connect("www.facebook.com", seconds=1)
        scene.connect("www.example.org", server, seconds=1)
        scene.connect("www.example.org", server, seconds=1, wait=10)
        scene.connect("www.example.org", server, wait=90)
        scene.go()


RECIPES = {
    "lab-reset-in-path": reset_in_path,
    "lab-reset-on-path": reset_on_path,
    "lab-reset-copied-ttl": reset_copied_ttl,
    "lab-dropped": dropped,
    "lab-block-page": block_page,
    "lab-alert": alert,
    "lab-residual": residual,
}
