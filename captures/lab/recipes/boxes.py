"""The interceptors of Kazakhstan, rebuilt: their generations, both builds, and what hides them."""

from __future__ import annotations

from lab import pki
from lab.recipes.common import ALL, SOCIAL, usual, visit
from lab.scene import PUBLISHED, TARGETS_2024, Scene


def tour(scene: Scene) -> None:
    """Targets and controls, both versions, three kinds of client."""
    visit(scene, *ALL)
    visit(scene, "www.example.org", "en.wikipedia.org", highest="TLSv1.2")
    scene.connect("www.facebook.com", tool="curl")
    scene.connect("vk.com", tool="s_client")
    scene.go()


def kz_take_over(scene: Scene) -> None:
    """The box of late July 2019 at hop 5, which takes over at the ClientHello

    The TCP handshake goes through to the origin; at a target's name the box answers in its place. So SYN-ACK and
    ServerHello have two senders, with TTLs of their own. Python, curl and s_client; then a ladder of one connection
    for each TTL: the control goes on to hop 8, the target is answered from hop 5 on. The edge is exact.
    """
    usual(scene)
    scene.kz_box("take-over", 5)
    with scene.record():
        tour(scene)
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def kz_terminate(scene: Scene) -> None:
    """The box of late July 2019 at hop 5, which terminates every TCP connection

    Every SYN is answered by the box, whatever the name that follows: the control of the ladder is answered from hop 5
    on as well, so the ladder (in one connection) shows no more than "at hop 5 or beyond".
    The origins are as far as ever: what they answer reaches the box alone.
    """
    usual(scene)
    scene.kz_box("terminate", 5)
    with scene.record():
        tour(scene)
        scene.ladder("www.facebook.com", "www.example.org", "one")


def kz_one_connection(scene: Scene) -> None:
    """The published measurement of July 2019: the same segment with TTL 1, 2, 3 ..., the control without a name

    A hand-made TCP client (SYN without options), the box at hop 5 takes over at the ClientHello. Three targets in turn.
    """
    usual(scene, SOCIAL)
    scene.kz_box("take-over", 5)
    with scene.record():
        visit(scene, *SOCIAL)  # from now on the box has the origins' chains, and answers before the next probe
        scene.go()
        for name in SOCIAL:
            scene.ladder(name, None, "one")


def kz_early_july(scene: Scene) -> None:
    """The first days of July 2019: leaves with RSA-1024 keys, 365 days from the day before

    Until 19 July the forged keys were RSA-1024, and the dates of the one published sample are not the origin's.
    """
    usual(scene)
    scene.kz_box("take-over", 4, "early-july-2019")
    with scene.record():
        visit(scene, *ALL, highest="TLSv1.2")
        scene.go()


def kz_august(scene: Scene) -> None:
    """After 30 July 2019: dates shifted by 24 hours

    "24 hours" is all that is published of the change; here both dates lie a day earlier.
    """
    usual(scene)
    scene.kz_box("take-over", 5, "august-2019")
    with scene.record():
        visit(scene, *ALL, highest="TLSv1.2")
        scene.go()


CONTROLS = ("www.facebook.com", "www.example.org", "en.wikipedia.org")  # what was a target in 2019 is none now


def isca(scene: Scene) -> None:
    """The interceptors of 2021 to 2024: an intermediate for 75 days, the origin's dates unshifted

    The targets are four of the fourteen names that OONI saw intercepted; what was one in 2019 is let through. Root and
    intermediate have the shape of the roots of 2020: the serial is the key identifier, the extensions in another order.
    """
    usual(scene, (*TARGETS_2024, *CONTROLS))
    scene.kz_box("take-over", 3, "isca-2021-2024")
    scene.must = {"intercepted": 4, "answered": 3}
    with scene.record():
        visit(scene, *TARGETS_2024, *CONTROLS, highest="TLSv1.2")
        scene.go()
        scene.ladder("rutracker.org", "en.wikipedia.org", "connection")


def isca_expired(scene: Scene) -> None:
    """The same with an expired intermediate, as for months of 2021 to 2024

    Expired is normal for this box, and speaks neither for nor against it.
    """
    usual(scene, (*TARGETS_2024, *CONTROLS))
    scene.kz_box("take-over", 3, "isca-2021-2024-expired")
    scene.must = {"intercepted": 4, "answered": 3}
    with scene.record():
        visit(scene, *TARGETS_2024, *CONTROLS, highest="TLSv1.2")
        scene.go()


def kz_share(scene: Scene) -> None:
    """The box acts on 60 % of the flows: the same name is intercepted and genuine by turns

    The same network, the same minute, the same address: which flow is taken is decided by its ports. One clean visit
    says nothing of the next.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5, share=60)
    scene.must = {"intercepted": 4, "answered": 4}
    with scene.record():
        for _ in range(5):
            visit(scene, *SOCIAL)
        visit(scene, "www.example.org")
        scene.go()


def kz_share_by_origin(scene: Scene) -> None:
    """The box acts on some origins only, whatever the name: it answers after fetching for 50 ms

    Two servers for each of two names; the box has chosen servers, not names. "This name is not intercepted" is as little
    to be had from one server as from one visit.
    """
    scene.path()
    for name, other in (("www.facebook.com", "157.240.205.36"), ("vk.com", "87.240.132.79")):
        for address in (None, other):
            scene.site(name, highest="TLSv1.2", **({"address": address} if address else {}))
    scene.site("www.example.org", highest="TLSv1.2")
    scene.start()
    # By the digest of their addresses, 157.240.205.35 and 87.240.132.79 are of the chosen 60 %.
    scene.kz_box("take-over", 5, share=60, share_by="origin", fetch_ms=50)
    scene.must = {"intercepted": 2, "answered": 3}
    with scene.record():
        for _ in range(2):
            for name, other in (("www.facebook.com", "157.240.205.36"), ("vk.com", "87.240.132.79")):
                scene.connect(name)
                scene.connect(name, other)
            scene.connect("www.example.org")
        scene.go()


def kz_slow(scene: Scene) -> None:
    """The box fetches the origin's chain for 400 ms before its first answer, and answers from a cache later

    The origins are 60 ms away: the first answer comes later than the origin could, the next ones sooner.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.delay("r7", 30)
    scene.kz_box("take-over", 4, fetch_ms=400)
    with scene.record():
        for _ in range(3):
            visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def kz_on_off(scene: Scene) -> None:
    """Interception switched off and on again while the capture runs

    The capture itself shows when: on, off, on, with controls in between that always get through.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    with scene.record():
        for switch in ("on", "off", "on"):
            scene.steps.append({"switch": switch})
            visit(scene, *SOCIAL, "www.example.org")
        scene.go()


def kz_untrusted_origins(scene: Scene) -> None:
    """Origins that the public does not trust: the box lets them through

    One certificate is expired, one self-signed; the third is sound and intercepted. Untrusted is not intercepted.
    """
    scene.path()
    scene.site("www.facebook.com", highest="TLSv1.2")
    day = pki.DAY
    expired = scene.public.issuers["rsa"].issue(["vk.com"], "rsa", pki.now() - 100 * day, pki.now() - 10 * day)
    scene.site("vk.com", leaf=expired, kind="expired", highest="TLSv1.2")
    scene.site("mail.ru", leaf=pki.self_signed(["mail.ru"]), kind="self-signed", highest="TLSv1.2")
    scene.site("www.example.org", highest="TLSv1.2")
    scene.start()
    scene.kz_box("take-over", 5)
    with scene.record():
        visit(scene, "www.facebook.com", "vk.com", "mail.ru", "www.example.org")
        scene.go()


def kz_other_name(scene: Scene) -> None:
    """A target's name, asked of a server that has another: the forged leaf follows the server's certificate

    SNI facebook.com sent to iqala.kz's server gave a fake for iqala.kz in 2019. Here the server is www.example.org's.
    """
    usual(scene, ("www.example.org", "www.kernel.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    with scene.record():
        for server in ("93.184.215.14", "145.40.73.55"):
            for name in ("www.facebook.com", "www.google.com", "www.example.org", "www.kernel.org"):
                scene.connect(name, server)
        scene.go()


def kz_silent_hop(scene: Scene) -> None:
    """A ladder over a path where the last clean router is silent

    Hop 4 sends no Time Exceeded, so the last clean hop has no address here. The edge is as exact as ever: the control went on.
    """
    scene.path(silent={4})
    scene.sites("www.facebook.com", "www.example.org")
    scene.start()
    scene.kz_box("take-over", 5)
    with scene.record():
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def kz_three_runs(scene: Scene) -> None:
    """A ladder run three times

    Three times the same answer: where paths are shared by load, the hop that most runs agree on is the one to name.
    """
    usual(scene, ("www.facebook.com", "www.example.org"))
    scene.kz_box("take-over", 5)
    with scene.record():
        scene.ladder("www.facebook.com", "www.example.org", "connection", runs=3, seconds=0.3)


def kz_far_ttl(scene: Scene) -> None:
    """A box whose packets start with TTL 128, in front of origins that start with 128 and 255

    TTLs of other families (64, 128, 255) must not be subtracted from each other: 128 less 4 and 255 less 7 are 4 and 7
    hops, not 127.
    """
    usual(scene, ("www.google.com", "vk.com", "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5, initial_ttl=128)
    # What the router's kernel sends of itself for these connections (resets) has the box's TTL as well.
    scene.iptables("r5", "-t mangle -A OUTPUT -p tcp --sport 443 -j TTL --ttl-set 128")
    with scene.record():
        visit(scene, "www.google.com", "vk.com", "www.example.org")
        scene.go()
        scene.ladder("vk.com", "www.example.org", "connection")


def mimic(scene: Scene) -> None:
    """A box that gives its packets the TTL of the origin's: only the ladder shows where it is

    No packet of the box is told from the origin's by its TTL. What else speaks is the certificate; the place is the
    ladder's alone.
    """
    usual(scene, ("www.google.com", "vk.com", "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5, mimic=True)
    # The router's kernel resets what comes after the end of a connection, with a TTL that would betray it.
    scene.iptables("r5", "-A OUTPUT -p tcp --sport 443 --tcp-flags RST RST -j DROP")
    with scene.record():
        visit(scene, "www.google.com", "vk.com", "www.example.org")
        scene.go()
        scene.ladder("www.google.com", "www.example.org", "connection")


def from_outside(scene: Scene) -> None:
    """Measured from abroad: a server in the country, the path walked the other way, the box at hop 4 from there

    Interception worked in both directions. The control asks the server for a name on no list.
    """
    scene.path([*reversed(PUBLISHED)], client="198.51.100.23")
    scene.site("www.example.org", names=["www.facebook.com"], highest="TLSv1.2", address="185.120.76.80")
    scene.kinds["185.120.76.80", "www.facebook.com"] = "sound"
    scene.site("www.kernel.org", highest="TLSv1.2", address="185.120.76.81")
    scene.start()
    scene.kz_box("take-over", 4)
    server, other = "185.120.76.80", "185.120.76.81"
    with scene.record():
        for name in ("www.facebook.com", "www.google.com", "www.example.org"):
            scene.connect(name, server)
        scene.connect("www.google.com", other)  # from now on the box has this origin's chain, and answers at once
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection", server)
        scene.ladder("www.google.com", None, "one", other)


def ipv6(scene: Scene) -> None:
    """The same names over IPv6 and IPv4: a terminating box at hop 5 for IPv6 only

    What goes on over IPv4 says nothing of IPv6, and the other way round: two paths, two tables of rules. Routers have
    addresses for documentation (RFC 3849).
    """
    scene.network.ipv6 = True
    both = [f"{address}+2001:db8:0:{hop}::1" for hop, address in enumerate(PUBLISHED, 1)]
    scene.path(both, client=["185.120.76.77", "2001:db8::77"])
    sixes = {}
    for number, name in enumerate((*SOCIAL, "www.example.org")):
        sixes[name] = f"2001:db8:feed:{number}::80"
        scene.site(name, also=sixes[name], highest="TLSv1.2")
    scene.start()
    scene.kz_box("terminate", 5, ipv6=True)
    with scene.record():
        for name, address in sixes.items():
            scene.connect(name, address)
            scene.connect(name)
        scene.go()


RECIPES = {
    "lab-kz-take-over": kz_take_over,
    "lab-kz-terminate": kz_terminate,
    "lab-kz-one-connection": kz_one_connection,
    "lab-kz-early-july": kz_early_july,
    "lab-kz-august": kz_august,
    "lab-isca": isca,
    "lab-isca-expired": isca_expired,
    "lab-kz-share": kz_share,
    "lab-kz-share-by-origin": kz_share_by_origin,
    "lab-kz-slow": kz_slow,
    "lab-kz-on-off": kz_on_off,
    "lab-kz-untrusted-origins": kz_untrusted_origins,
    "lab-kz-other-name": kz_other_name,
    "lab-kz-silent-hop": kz_silent_hop,
    "lab-kz-three-runs": kz_three_runs,
    "lab-kz-far-ttl": kz_far_ttl,
    "lab-mimic": mimic,
    "lab-from-outside": from_outside,
    "lab-ipv6": ipv6,
}
