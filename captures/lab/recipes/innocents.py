"""What looks like interception and is none."""

from __future__ import annotations

from lab import pki
from lab.recipes.common import SOCIAL, home, visit
from lab.scene import Interceptor, Scene


def refusing_server(scene: Scene) -> None:
    """Servers that refuse names they do not know: an alert (112) from one, a close from the other

    The refusals come from as far as the SYN-ACKs. A server may refuse what name it likes: that is no interference.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    scene.options["157.240.205.35"] = {"refuse": "alert"}
    scene.options["93.184.215.14"] = {"refuse": "close"}
    scene.start()
    with scene.record():
        for server in ("157.240.205.35", "93.184.215.14"):
            for name in ("www.google.com", "vk.com", "www.facebook.com", "www.example.org"):
                scene.connect(name, server)
        scene.go()


def overloaded(scene: Scene) -> None:
    """An overloaded server that resets every third connection after the ClientHello, targets and controls alike

    The resets come from as far as the SYN-ACKs, and strike any name: a server may be at its limits.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    for server in ("157.240.205.35", "93.184.215.14"):
        scene.options[server] = {"reset_every": 3}
    scene.start()
    with scene.record():
        for _ in range(6):
            visit(scene, "www.facebook.com", "www.example.org")
        scene.go()


def virtual_hosts(scene: Scene) -> None:
    """One address with four virtual hosts of different versions, ALPN, keys and authorities

    Version, ALPN, key and CA differ from name to name, and with the version that the client offers: a difference between two
    names at one address shows nothing.
    """
    scene.path()
    one = "157.240.205.35"
    scene.site("www.facebook.com", highest="TLSv1.2")
    scene.site("www.example.org", address=one, highest="TLSv1.3", alpn=["h2", "http/1.1"])
    scene.site("en.wikipedia.org", address=one, highest="TLSv1.2", alpn=["h2"])
    scene.site("www.kernel.org", address=one, highest="TLSv1.2")
    scene.start()
    with scene.record():
        for name in ("www.facebook.com", "www.example.org", "en.wikipedia.org", "www.kernel.org"):
            scene.connect(name, one, alpn=["h2", "http/1.1"])
            scene.connect(name, one, highest="TLSv1.2")
        scene.go()


def dns_to_proxy(scene: Scene) -> None:
    """A name server sends the client to a proxy in the country, which passes TLS on untouched

    The address is not the site's and near; the chain is the site's own. An unexpected address is no interception.
    """
    scene.path()
    scene.sites("www.facebook.com", "vk.com", "www.example.org", highest="TLSv1.2")
    proxy = "88.204.195.99"
    scene.site("www.kernel.org", behind="r2", address=proxy, highest="TLSv1.2")
    for name in ("www.facebook.com", "vk.com"):
        scene.kinds[proxy, name] = "sound"
    scene.options[proxy] = {"splice": {"www.facebook.com": "157.240.205.35", "vk.com": "87.240.132.78"}}
    table = {"www.facebook.com": proxy, "vk.com": proxy, "www.example.org": "93.184.215.14"}
    scene.names("88.204.195.90", table)
    scene.start()
    scene.names("88.204.195.90", table)
    scene.servers[proxy] += scene.servers["157.240.205.35"] + scene.servers["87.240.132.78"]
    with scene.record():
        for name, address in table.items():
            scene.resolve(name, "88.204.195.90")
            scene.connect(name, address)
        scene.go()


def captive_portal(scene: Scene) -> None:
    """A captive portal: until somebody pays, the router at hop 1 shows its own self-signed page to everyone

    Whatever name is asked, the answer is a certificate for portal.lan, from one hop away. It pretends nothing.
    """
    home(scene, *SOCIAL, highest="TLSv1.2")
    scene.start()
    portal = scene.page_of(1, pki.self_signed(["portal.lan"]))
    scene.nat(1, "192.168.1.0/24", "2.72.10.20")
    for port in (80, 443):
        scene.iptables("r1", f"-t nat -A PREROUTING -p tcp --dport {port} -j DNAT --to-destination {portal}:443")
    scene.box = Interceptor("captive-portal", 1, accept=("undetermined",), own_network=True, innocent=True)
    with scene.record():
        visit(scene, *SOCIAL, highest="TLSv1.2")
        scene.go()


def router_page(scene: Scene) -> None:
    """A home router's self-signed page, once under a target's name as after a hijacked local name server

    The address is the router's own, in the volunteer's network: nobody stood between.
    """
    home(scene, *SOCIAL, highest="TLSv1.2")
    scene.start()
    router = scene.page_of(1, pki.self_signed(["router.lan"]))
    scene.nat(1, "192.168.1.0/24", "2.72.10.20")
    with scene.record():
        for name in (None, "router.lan", "www.facebook.com"):
            scene.connect(name, router, highest="TLSv1.2")
        visit(scene, *SOCIAL)
        scene.go()


def replayed(scene: Scene) -> None:
    """A forged chain replayed by somebody without its key

    Whoever shows another's certificate can be anyone: the ServerKeyExchange is of another handshake, its signature
    does not cover this ClientHello, and no handshake is ever finished.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    scene.start()
    forger = scene.forger("late-july-2019")
    key, leaf = forger.forge(scene.leaves["www.facebook.com"].chain[0])
    forged = pki.Leaf(key, [leaf, forger.intermediate])
    scene.impostor("157.240.205.35", forged)
    scene.notes["arrives"] = True  # the certificate does, though no client can go on from there
    with scene.record():
        for _ in range(2):
            scene.accept[scene.connect("www.facebook.com", highest="TLSv1.2")] = ["undetermined"]
        visit(scene, "www.example.org")
        scene.go()


RECIPES = {
    "lab-refusing-server": refusing_server,
    "lab-overloaded": overloaded,
    "lab-virtual-hosts": virtual_hosts,
    "lab-dns-to-proxy": dns_to_proxy,
    "lab-captive-portal": captive_portal,
    "lab-router-page": router_page,
    "lab-replayed": replayed,
}
