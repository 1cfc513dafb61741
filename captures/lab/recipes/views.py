"""Other clients, other places to record at, other formats."""

from __future__ import annotations

from lab.recipes.common import SOCIAL, usual, visit
from lab.scene import Scene


def chromium(scene: Scene) -> None:
    """Chromium, whose ClientHello spans two segments, with the box of 2019 at hop 5

    A box that looks at single packets would not see the name. Chromium opens more connections than pages, and chooses
    its ports itself; GREASE values stand in its lists.
    """
    usual(scene, ("www.facebook.com", "vk.com", "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    scene.notes["tool_without_journal"] = "chromium"  # it chooses its ports itself, and makes as many as it likes
    with scene.record():
        visit(scene, "www.facebook.com", "vk.com", "www.example.org", tool="chromium")
        scene.go()


def resumption(scene: Scene) -> None:
    """Sessions resumed: the second handshake shows no certificate

    Intercepted and genuine ones; a session that began in sight can be linked to its certificate.
    """
    usual(scene, ("www.facebook.com", "vk.com", "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    with scene.record():
        for name in ("www.facebook.com", "vk.com", "www.example.org"):
            scene.connect(name, keep=name, highest="TLSv1.2")
            scene.connect(name, resume=name, highest="TLSv1.2")
        scene.go()


def key_log(scene: Scene) -> None:
    """TLS 1.3 with the client's key log beside it: the certificates can be read

    `keys.log` is what a browser writes where SSLKEYLOGFILE is set. With it the encrypted certificates are opened, and the
    server's signature over the handshake is checked.
    """
    usual(scene, (*SOCIAL, "www.example.org"))
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org", keylog=True)
        scene.go()
    scene.keys()


def quic(scene: Scene) -> None:
    """QUIC to the origin gets through, TCP to the same name is intercepted

    As published of 2019, nothing is known of QUIC being touched; here it is not. The names in its Initial packets can be
    read by anyone; the certificates cannot.
    """
    usual(scene, ("www.google.com", "www.youtube.com", "www.example.org"), highest="TLSv1.2")
    for number, name in enumerate(("www.google.com", "www.youtube.com", "www.example.org")):
        scene.quic_server(f"s{number}", name)
    scene.kz_box("take-over", 5)
    with scene.record():
        for name in ("www.google.com", "www.youtube.com", "www.example.org"):
            scene.quic(name)
        visit(scene, "www.google.com", "www.youtube.com", "www.example.org")
        scene.go()


def server_side(scene: Scene) -> None:
    """Recorded beside the server: the ClientHello of an intercepted connection is the box's own

    Its TTL and fingerprint are not the client's, and thirteen suites of TLS 1.2 (and the signal of RFC 5746) are all it offers. The chain on the wire
    is genuine: it is the server's, sent to the box.
    """
    usual(scene, ("www.facebook.com",), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    scene.notes["beyond_the_box"] = ["s0"]
    with scene.record("s0"):
        for name in ("www.facebook.com", "www.example.org", "www.facebook.com"):
            scene.connect(name, "157.240.205.35")
        scene.go()


def forwarded_hello(scene: Scene) -> None:
    """The box forwards the client's own ClientHello and takes over later: two recordings of the same connections

    `server.pcap` was recorded beside the server at the same time. Both sides show the same ClientHello.random between
    the same ports, and yet another ServerHello and another chain: equal randoms alone decide nothing.
    """
    usual(scene, ("www.facebook.com",), highest="TLSv1.2")
    scene.kz_box("take-over", 5, forward_hello=True)
    with scene.record("s0", name="server"), scene.record():
        for name in ("www.facebook.com", "www.example.org", "www.facebook.com"):
            scene.connect(name, "157.240.205.35")
        scene.go()


def at_router(scene: Scene) -> None:
    """Recorded at the router of hop 2: hops count from there

    The box at hop 5 is three hops from here, the client one: all counts are the capture point's.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    with scene.record("r2", "to-r3"):
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def cooked(scene: Scene) -> None:
    """tcpdump -i any: cooked-mode version 2, one entry for each packet

    The link layer's addresses are gone, the interface's number has come. The rest is as at the client's interface.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    with scene.record("client", "any", "tcpdump", "-y", "LINUX_SLL2"):
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def raw_ip(scene: Scene) -> None:
    """Raw IP, as phones record it: no link layer, and the box of August 2019 at hop 4

    The interface is a tun device. The ladder is the same as over Ethernet.
    """
    scene.path(raw=True)
    scene.sites(*SOCIAL, "www.example.org", highest="TLSv1.2")
    scene.start()
    scene.kz_box("take-over", 4, "august-2019")
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def nanoseconds(scene: Scene) -> None:
    """pcap with nanoseconds, and a terminating box whose leaves come with the root

    Every SYN-ACK is the box's. Three certificates in the chain, the root among them: roots are usually not sent.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("terminate", 5, send_root=True)
    with scene.record("client", None, "tcpdump", "--time-stamp-precision=nano"):
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def snaplen(scene: Scene) -> None:
    """tcpdump -s 96: neither names nor certificates were kept

    Enough for addresses, ports and TTLs, and for nothing else: what was cut off cannot be judged, and is not.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    scene.notes["cut"] = 96
    with scene.record("client", None, "tcpdump", "-s", "96"):
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def dumpcap(scene: Scene) -> None:
    """dumpcap's pcapng, and a box at hop 3 with a slow first answer of 150 ms

    The first answer to each name waits for the box's own visit to the origin.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 3, fetch_ms=150)
    with scene.record("client", None, "dumpcap"):
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()


RECIPES = {
    "lab-chromium": chromium,
    "lab-resumption": resumption,
    "lab-key-log": key_log,
    "lab-quic": quic,
    "lab-server-side": server_side,
    "lab-forwarded-hello": forwarded_hello,
    "lab-router": at_router,
    "lab-any": cooked,
    "lab-raw-ip": raw_ip,
    "lab-nanoseconds": nanoseconds,
    "lab-snaplen": snaplen,
    "lab-dumpcap": dumpcap,
}
