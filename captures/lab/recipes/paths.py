"""What the path does, with a box on it or none: nothing, accelerators, load sharing, changes, carrier NAT."""

from __future__ import annotations

from lab.recipes.common import ALL, SOCIAL, usual, visit
from lab.scene import PUBLISHED, Scene


def clean(scene: Scene) -> None:
    """Nothing on the path: TLS 1.2 and 1.3, three initial TTLs, a ladder and two traceroutes

    Where to begin: what every other capture differs from. The ladder ends at the server for both names, the
    traceroutes (UDP and ICMP) agree with it.
    """
    usual(scene)
    with scene.record():
        visit(scene, *ALL)
        visit(scene, *ALL, highest="TLSv1.2")
        scene.connect("www.facebook.com", tool="curl", highest="TLSv1.2")
        scene.trace("157.240.205.35")
        scene.trace("157.240.205.35", how="icmp")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def clean_one(scene: Scene) -> None:
    """Nothing on the path, and a ladder in one connection

    The target's answer comes at the same TTL as the control's: the server's. Nothing is concluded from that, and nothing
    has to be.
    """
    usual(scene, ("www.facebook.com", "www.example.org"))
    with scene.record():
        scene.ladder("www.facebook.com", "www.example.org", "one")


def accelerator(scene: Scene) -> None:
    """A split-TCP accelerator at hop 2 answers every SYN, and forges nothing

    It looks like a terminating box to every TTL: the SYN-ACK is two hops away for each server. The chains are genuine.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.delay("r7", 20)
    scene.accelerator(2)
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def accelerator_and_box(scene: Scene) -> None:
    """A split-TCP accelerator at hop 2 hides a box at hop 5

    Everything is answered from hop 2 on, the forged chains too: the ladder cannot say more than "at hop 2 or beyond".
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.kz_box("take-over", 5)
    scene.accelerator(2)
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()
        bound = {
            "interceptor_ttl": 2,
            "control_terminating_ttl": 2,
            "bound": "at_or_beyond",
            "last_clean_hop": {"ttl": 1, "address": "185.120.76.1"},
            "first_intercepted_hop": {"ttl": 2, "address": None},
        }
        scene.ladder("www.facebook.com", "www.example.org", "connection", expect=bound)


def ecmp(scene: Scene) -> None:
    """Up to four ways between hops 2 and 4, shared by ports, and the box behind them at hop 5

    The router at hop 3 is now one, now another of four, as the hash of each flow has it: what lies between hop 4 and 5 is the same for all.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    for letter, address in zip("abc", ("212.154.195.98", "212.154.195.99", "212.154.195.100"), strict=True):
        scene.network.host(f"r3{letter}", address)
        scene.network.link("r2", f"r3{letter}")
        scene.network.link(f"r3{letter}", "r4")
    for server in ("157.240.205.35", "93.184.215.14"):
        scene.network.route("r2", server, "r3", "r3a", "r3b", "r3c")
    scene.start()
    scene.kz_box("take-over", 5)
    with scene.record():
        # The control alone draws an answer from the router at hop 5, and it may have come another way than the target.
        either = [{"ttl": 5, "address": None}, {"ttl": 5, "address": "95.56.243.92"}]
        unnamed = {"first_intercepted_hop": {"any_of": either}}
        scene.ladder("www.facebook.com", "www.example.org", "connection", expect=unnamed, runs=2, seconds=0.3)


def ecmp_behind_the_box(scene: Scene) -> None:
    """Up to four ways behind the box, at hop 6: target and control both end as they should

    What is shared by load beyond the box cannot touch the edge before it: the target never comes that far.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    for letter, address in zip("abc", ("178.89.110.199", "178.89.110.200", "178.89.110.201"), strict=True):
        scene.network.host(f"r6{letter}", address)
        scene.network.link("r5", f"r6{letter}")
        scene.network.link(f"r6{letter}", "r7")
    for server in ("157.240.205.35", "93.184.215.14"):
        scene.network.route("r5", server, "r6", "r6a", "r6b", "r6c")
    scene.start()
    scene.kz_box("take-over", 5)
    with scene.record():
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def ecmp_past_the_box(scene: Scene) -> None:
    """Two ways at hop 4, the box on one of them: the same name intercepted or not, by the port of the flow

    Load sharing decides which flows the box sees, by their ports. The same name, at the same address, in the same second,
    is intercepted and genuine. The way back leads past hop 4's first router for all.
    """
    scene.path()
    scene.sites("www.facebook.com", "www.example.org", highest="TLSv1.2")
    scene.network.host("r4a", "92.47.150.198")
    scene.network.link("r3", "r4a")
    scene.network.link("r4a", "r5")
    for server in ("157.240.205.35", "93.184.215.14"):
        scene.network.route("r3", server, "r4", "r4a")
    scene.start()
    scene.kz_box("terminate", 4)
    scene.must = {"intercepted": 1, "answered": 9}
    with scene.record():
        for _ in range(8):
            visit(scene, "www.facebook.com", "www.example.org", seconds=2)
        scene.go()


def route_change(scene: Scene) -> None:
    """The route changes while the capture runs: first through the box at hop 4, then past it

    What was intercepted is genuine a moment later, with the same client, names and servers: the path is the
    cause, not the subscriber.
    """
    scene.path()
    scene.sites("www.facebook.com", "vk.com", "www.example.org", highest="TLSv1.2")
    scene.network.host("r4a", "92.47.150.198")
    scene.network.link("r3", "r4a")
    scene.network.link("r4a", "r5")
    scene.start()
    scene.kz_box("take-over", 4)
    with scene.record():
        visit(scene, "www.facebook.com", "vk.com", "www.example.org")
        scene.go()
        for server in ("157.240.205.35", "87.240.132.78", "93.184.215.14"):
            scene.reroute("r3", server, "r4a")
        scene.reroute("r5", "185.120.76.77", "r4a")
        visit(scene, "www.facebook.com", "vk.com", "www.example.org")
        scene.go()


def carrier_nat(scene: Scene) -> None:
    """Carrier NAT: private addresses on hops 1 to 4, and the box of 2019 at hop 6

    Private hops are no sign of the volunteer's own network: the carrier's core begins at hop 2 here.
    """
    hops = ["192.168.1.1", "100.64.0.1", "10.11.0.1", "10.11.7.1+212.154.195.97", *PUBLISHED[3:]]
    scene.path(hops, client="192.168.1.10")
    scene.sites(*SOCIAL, "www.example.org", highest="TLSv1.2")
    scene.start()
    scene.nat(4, "192.168.1.0/24", "212.154.195.97")
    scene.kz_box("take-over", 6)
    with scene.record():
        visit(scene, *SOCIAL, "www.example.org")
        scene.go()
        scene.ladder("www.facebook.com", "www.example.org", "connection")


def loss(scene: Scene) -> None:
    """Three packets in ten are lost at hop 6: handshakes that never end, and nobody to blame

    Some of these connections come to nothing, in silence, some are slow. Silence that strikes every name is loss,
    and even silence that strikes one may be.
    """
    usual(scene, (*SOCIAL, "www.example.org"), highest="TLSv1.2")
    scene.loss(6, 0.3)
    scene.must = {"answered": 6}
    with scene.record():
        for _ in range(3):
            visit(scene, *SOCIAL, "www.example.org", seconds=3)
        scene.go()


RECIPES = {
    "lab-clean": clean,
    "lab-clean-one-connection": clean_one,
    "lab-accelerator": accelerator,
    "lab-accelerator-and-box": accelerator_and_box,
    "lab-ecmp": ecmp,
    "lab-ecmp-behind-the-box": ecmp_behind_the_box,
    "lab-ecmp-past-the-box": ecmp_past_the_box,
    "lab-route-change": route_change,
    "lab-carrier-nat": carrier_nat,
    "lab-loss": loss,
}
