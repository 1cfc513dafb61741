"""Real products, the user's own or a company's, alone and in front of the state's box."""

from __future__ import annotations

from lab import products
from lab.recipes.common import ALL, SOCIAL, home, usual, visit
from lab.scene import PUBLISHED, Interceptor, Scene


def mitmproxy(scene: Scene) -> None:
    """mitmproxy in transparent mode at hop 1, for every name: a debugging proxy

    The names of its CA say what it is, though names prove nothing. Its answers' TTL was lowered by no router: it runs on
    the user's own device or network. Half of the connections are TLS 1.3, whose certificates cannot be seen.
    """
    home(scene, *ALL)
    scene.start()
    scene.nat(1, "192.168.1.0/24", "2.72.10.20")
    products.intercept(scene, 1, "mitmproxy", identity=("product:mitmproxy",), own_network=True)
    with scene.record():
        visit(scene, *ALL, highest="TLSv1.2")
        visit(scene, *SOCIAL)
        scene.go()


def tls13(scene: Scene) -> None:
    """mitmproxy with TLS 1.3 and no keys: interception that the capture does not show

    The certificates are encrypted. Nothing may be said of them, neither good nor bad.
    """
    usual(scene)
    products.intercept(scene, 5, "mitmproxy")
    with scene.record():
        visit(scene, *ALL)
        scene.go()


def sslsplit(scene: Scene) -> None:
    """sslsplit at hop 4 for every name, under a private CA

    Its leaves share two traits with the box of 2019: e = 3, and the origin's serial but for the last four bytes. That
    names nobody.
    """
    usual(scene)
    products.intercept(scene, 4, "sslsplit", accept=("suspected",))
    with scene.record():
        visit(scene, *ALL, highest="TLSv1.2")
        scene.go()


def squid(scene: Scene) -> None:
    """A company's squid at hop 2 for every name, under the company's own CA

    Subject and dates are the origin's, the key is its own, and the CA's certificate is sent twice. A private root by
    itself is no interception: companies and schools have such proxies, and their users know.
    """
    scene.path(["10.20.0.1", "10.20.0.2+2.72.10.20", *PUBLISHED[2:]], client="10.20.0.44")
    scene.sites(*ALL)
    scene.start()
    scene.nat(2, "10.20.0.0/16", "2.72.10.20")
    # A private root by itself is no interception: that all names have it is told beside.
    products.intercept(scene, 2, "squid", accept=("undetermined", "suspected"), own_network=True)
    with scene.record():
        visit(scene, *ALL, highest="TLSv1.2")
        scene.go()


def masked_box(scene: Scene) -> None:
    """A company's gateway at hop 1 in front of the state's box at hop 5: it masks what lies behind

    The client sees the gateway's certificates alone. That the gateway itself was shown forged ones is not in here.
    """
    scene.path(["10.20.0.1+2.72.10.20", *PUBLISHED[1:]], client="10.20.0.44")
    scene.sites(*ALL)
    scene.start()
    scene.nat(1, "10.20.0.0/16", "2.72.10.20")
    products.intercept(scene, 1, "sslsplit")
    scene.kz_box("take-over", 5)
    scene.arguments.pop("interception_ca")  # nothing in here is signed by it
    scene.files.pop("interception.pem")
    masked = Interceptor("sslsplit", 1, details={"behind_it": "kz-take-over at hop 5"}, own_network=True)
    masked.accept = ("suspected",)
    scene.box = masked
    with scene.record():
        visit(scene, *ALL, highest="TLSv1.2")
        scene.go()


def halves(scene: Scene) -> None:
    """The redirect is undone on the way back only: the loopback shows each side of a connection under other ports.

    So the certificates come from a server that nobody asked: without the ClientHello there is no name to judge them by.
    """
    for port in range(40_002, 40_006):
        scene.accept[port] = ["undetermined", "suspected"]


def antivirus(scene: Scene) -> None:
    """An "antivirus" on the client itself (mitmproxy over the loopback), recorded on all interfaces

    Each connection has two legs: client to proxy over the loopback, with the proxy's certificates, and proxy to server
    over the network, where the chains are genuine.
    """
    usual(scene, highest="TLSv1.2")
    products.antivirus(scene)
    scene.notes["both_legs"] = True
    halves(scene)
    with scene.record("client", "any", "tcpdump", "-y", "LINUX_SLL2"):
        visit(scene, *SOCIAL, "www.example.org", highest="TLSv1.2")
        scene.go()


def antivirus_and_box(scene: Scene) -> None:
    """The same in front of the state's box at hop 5: the leg over the network shows what the client never sees

    The client is shown the local proxy's certificates alone; the forged ones end at the proxy, which does not check
    them. Both legs are in the capture.
    """
    usual(scene, highest="TLSv1.2")
    products.antivirus(scene)
    scene.kz_box("take-over", 5)
    scene.notes["both_legs"] = True
    halves(scene)
    with scene.record("client", "any", "tcpdump", "-y", "LINUX_SLL2"):
        visit(scene, *SOCIAL, "www.example.org", highest="TLSv1.2")
        scene.go()


RECIPES = {
    "lab-mitmproxy": mitmproxy,
    "lab-tls13": tls13,
    "lab-sslsplit": sslsplit,
    "lab-squid": squid,
    "lab-masked-box": masked_box,
    "lab-antivirus": antivirus,
    "lab-antivirus-and-box": antivirus_and_box,
}
