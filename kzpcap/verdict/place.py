"""Where: what a judged ladder, or an answer from the user's own side, says of the place of an interceptor."""

from __future__ import annotations

from collections.abc import Iterable

from kzpcap.observations import Observation
from kzpcap.paths.hops import FRESH_TTLS, family
from kzpcap.paths.ladders import HOUR_NS
from kzpcap.paths.local import is_local
from kzpcap.reference import Product
from kzpcap.surroundings import Surroundings
from kzpcap.surroundings.signers import Signing
from kzpcap.verdict.identity import UNKNOWN, is_known, is_product
from kzpcap.verdict.identity import product as product_identity
from kzpcap.verdict.judge import Interceptor, Place, Verdict
from kzpcap.verdict.ladders import Ladder
from kzpcap.verdict.outcomes import EFFECTS
from kzpcap.verdict.rules import State


class LadderIndex:
    """The ladders of a capture, found by what they asked: each connection looks through its own alone."""

    def __init__(self, ladders: Iterable[Ladder]) -> None:
        self.asked: dict[tuple[str, str, str | None], list[Ladder]] = {}
        self.clients: set[str] = set()
        """Whose ladders met an interceptor or a blocker."""
        for ladder in ladders:
            if ladder.interceptor_ttl is not None:
                self.asked.setdefault((ladder.client, ladder.server, ladder.server_name), []).append(ladder)
                self.clients.add(ladder.client)


NO_LADDERS = LadderIndex(())


def place_of(
    verdict: Verdict, observation: Observation, surroundings: Surroundings, ladders: LadderIndex
) -> Place | None:
    """The place that a ladder gives an intercepted or blocked connection.

    The nearest in time of the same client, to the same server and name, within the hour, which drew the same from the
    same: a reset is placed by no ladder of certificates, nor one signer by another's.
    """
    if verdict.state not in (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED) or not observation.name_known:
        return None
    asked = (observation.client[0], observation.server[0], observation.server_name)
    near = [
        (max(ladder.first_ns - observation.time_ns, observation.time_ns - ladder.last_ns, 0), at, ladder)
        for at, ladder in enumerate(ladders.asked.get(asked, ()))
        if _same_effect(verdict, observation, surroundings, ladder)
    ]
    apart, _, nearest = min(near, default=(HOUR_NS + 1, 0, None), key=lambda one: one[:2])
    if nearest is None or apart > HOUR_NS:
        return None
    where = "at_destination" if nearest.placement == "at_destination" else "edge"
    return Place(where, nearest.bound, describe(nearest))


def _same_effect(verdict: Verdict, observation: Observation, surroundings: Surroundings, ladder: Ladder) -> bool:
    """Did the connection get what the ladder drew, of the same? Who is named by no known key is told by who signed."""
    signed = ladder.effect in ("certificate", "suspected_certificate")
    if verdict.state is State.INTERFERED:
        return not signed and EFFECTS.get(observation.failed or "", "reset") == ladder.effect
    if not signed or verdict.interceptor is None:
        return False
    identity = verdict.interceptor.identity
    keys = {signer for whose, signer in ladder.signers if whose == identity}
    if is_known(identity) or not keys:
        return bool(keys)
    signer = surroundings.signer_of(observation)
    return not signer or bool(keys & {signer, ""})


def describe(ladder: Ladder) -> str:
    """One line: between which hops, and how sure."""
    k = ladder.interceptor_ttl or 0
    at = (
        ""
        if ladder.first_intercepted_hop is None or not ladder.first_intercepted_hop.address
        else f" ({ladder.first_intercepted_hop.address})"
    )
    before = (
        ""
        if ladder.last_clean_hop is None or not ladder.last_clean_hop.address
        else f" ({ladder.last_clean_hop.address})"
    )
    if ladder.bound == "exact" and k == 1:
        return f"TTL ladder: between the capture point and hop 1{at}, which may be the user's own router"
    if ladder.bound == "exact":
        return f"TTL ladder: between hop {k - 1}{before} and hop {k}{at}"
    if ladder.bound == "at_or_before" and ladder.inferred_hop is not None:
        return f"TTL ladder: at hop {k}{at} or nearer (its answers copy the probes' TTL)"
    if ladder.bound == "at_or_before" and ladder.last_clean_hop is not None:
        return f"TTL ladder: between hop {ladder.last_clean_hop.ttl}{before} and hop {k}{at}"
    if ladder.bound is None or ladder.bound == "at_or_before":
        return f"TTL ladder: at hop {k}{at} or nearer" + ("" if ladder.bound else ", or beyond it")
    return f"TTL ladder: at hop {k}{at} or beyond it"


LAN_NS = 1_000_000
"""A round trip under a millisecond: within a home or an office. Access networks take longer, most of them by far."""
LAN_NAMES = 3
LAN_ROUTERS = 1
MASKED = "; nothing can be said of the network beyond"


def on_the_volunteers_side(
    verdict: Verdict,
    observation: Observation,
    products: tuple[Product, ...],
    surroundings: Surroundings,
    ladders: LadderIndex = NO_LADDERS,
) -> Verdict:
    """A verdict whose interceptor stands on the user's own side, with that as its place: what lies beyond is masked.

    Names and private addresses put nothing there, nor does a TTL alone: who sits on the path can give it any value, and
    apps that rebuild packets do. It takes a client whose own packets are fresh, and

    - a known local product, SYN-ACK and answer with a TTL that no router has lowered, where other servers' TTLs were
      lowered and no genuine answer came so; or
    - the same by whomever, with a SYN-ACK as on a local network; or
    - round trips as on a local network for every connection of this client, over one router at most, with every name,
      listed or not, signed by one and the same private issuer.

    For the first two, this very issuer must have signed for some name on no list: a carrier's first device may be as
    near, and chooses by name. For the last two, some ServerHello of it must have come as soon as one can from nearby:
    a device that only takes the TCP connection, and hands its bytes on to wherever TLS ends, is as near, and never as
    quick.
    A known interception key never stands there, nor one that a ladder of this client puts on the path.
    """
    if verdict.state not in (State.INTERCEPTED, State.SUSPECTED):
        return verdict
    identity = verdict.interceptor.identity if verdict.interceptor else ""
    sent, answer = observation.client_hello, observation.server_hello
    if is_known(identity) or sent is None or answer is None:
        return verdict
    if observation.proxied or surroundings.rebuilt or is_local(observation.server[0]):
        return verdict
    if observation.ppp:  # whoever stands at the other end of the link is no device of the user's
        return verdict
    if sent.ttl not in FRESH_TTLS:
        return verdict
    product = next((one for one in products if one.local and identity == product_identity(one.id)), None)
    client = observation.client[0]
    signing = surroundings.signers.of(client)
    facts = surroundings.facts_of(observation.chain, observation.time_ns)
    issuer = surroundings.private_issuer(facts) if facts is not None else 0
    use = surroundings.use_of_issuer(facts) if facts is not None else None
    fresh = {answer.ttl, *([observation.syn_ack.ttl] if observation.syn_ack is not None else [])} <= FRESH_TTLS
    masked = signing.lowered and not signing.fresh_genuine and use is not None and bool(use.others)
    if product is not None and fresh and masked:
        basis = f"{product.title} runs on users' own devices and networks, and no router has lowered"
        return verdict._replace(
            place=Place("volunteer_side", None, f"{basis} the TTL of its answer ({answer.ttl}){MASKED}")
        )
    if client in ladders.clients:
        return verdict
    if issuer not in signing.near:
        return verdict
    shown = (_own_link(observation) if masked else None) or _local_network(observation, signing)
    return verdict._replace(place=Place("volunteer_side", None, shown + MASKED)) if shown else verdict


def _own_link(observation: Observation) -> str | None:
    """The answer, SYN-ACK and all, came as from the capture's own link, and others' did not."""
    first, answer = observation.syn_ack, observation.server_hello
    if first is None or answer is None or not {first.ttl, answer.ttl} <= FRESH_TTLS:
        return None
    if any(one.ttl not in FRESH_TTLS for one in observation.server_marks if one.what == "syn_ack"):
        return None  # recorded at another point as well
    took = observation.syn_ack_ns
    if took is None or not 0 < took < LAN_NS:
        return None
    return f"SYN-ACK after {took / 1e6:.2f} ms and answer with TTLs ({answer.ttl}) that no router seems to have lowered"


def _local_network(observation: Observation, signing: Signing) -> str | None:
    """Every SYN of the client was answered at once, and one private issuer signs for every name."""
    answer = observation.server_hello
    if answer is None or family(answer.ttl) - answer.ttl > LAN_ROUTERS:
        return None
    if signing.slowest >= LAN_NS or len(signing.issuers) != 1 or 0 in signing.issuers:
        return None
    others = len(signing.names) - len(signing.listed)
    if len(signing.names) < LAN_NAMES or not others or len(signing.servers) < LAN_NAMES:
        return None
    return (
        f"all {len(signing.names)} names of this client, {others} of them on no list, are signed by one private issuer,"
        f" and every SYN was answered within {signing.slowest / 1e6:.2f} ms, over one router at most: as on a local"
        " network"
    )


def placed(verdict: Verdict, place: Place) -> Verdict:
    """A verdict with its place.

    What a ladder puts on the path is no product on the user's side, whatever names it bears: then nobody is named.
    """
    interceptor = verdict.interceptor
    if interceptor is not None and is_product(interceptor.identity) and place.where != "volunteer_side":
        interceptor = Interceptor(UNKNOWN, f"{interceptor.basis}, and a ladder puts it on the path")
    return verdict._replace(place=place, interceptor=interceptor)
