# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""What a connection has, as one number, and which facts need it: what nothing can be asked of is not asked.

`@needs(A, B)` before a fact says: without A, or without B, its answer is the same for all connections of a capture
that have the same features. It is asked of the first of them, and its answer kept (plans.py). A fact that declares
nothing is asked every time; tests/test_features.py holds every declaration against the facts themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kzpcap.certificates.chains import ChainFacts
from kzpcap.iana import is_tls13
from kzpcap.observations import Absent, Mark, Observation
from kzpcap.paths.stack import stamps, steps_like_a_counter
from kzpcap.surroundings import Surroundings
from kzpcap.surroundings.profiles import ALERT_RECORD
from kzpcap.verdict.shapes import shaped_issuer

# Each a bit of the number, in the order in which `features_of` asks for them.
CHAIN = 1 << 0
"""A certificate of the server."""
KNOWN_KEY = 1 << 1
"""A verified path to an interception CA, shipped or supplied."""
LISTED_INTERMEDIATE = 1 << 2
IMITATION = 1 << 3
PRODUCT = 1 << 4
NATIONAL = 1 << 5
SELF_SIGNED = 1 << 6
PROBLEM = 1 << 7
"""The leaf could not be read whole."""
PUBLIC = 1 << 8
SUPPLIED = 1 << 9
UNANCHORED = 1 << 10
"""A chain that leads neither to a public root nor to a supplied anchor."""
DOUBTED = 1 << 11
"""A chain to a public root that is not trusted on the day."""
TIMED = 1 << 12
"""There is a day to judge by."""
CLOCK_CONTRADICTED = 1 << 13
PROOF = 1 << 14
"""Something to check possession of the leaf's key with."""
FINISHED = 1 << 15
RESUMED = 1 << 16
RESET = 1 << 17
"""A reset of the server's side, or that side was not captured."""
CLIENT_RESET = 1 << 18
PLAIN = 1 << 19
ALERT = 1 << 20
CONFLICT = 1 << 21
OTHER_CHAIN = 1 << 22
UNANSWERED = 1 << 23
"""No ServerHello."""
HIDDEN = 1 << 24
ABSENT = 1 << 25
"""No certificate, for another reason than encryption."""
NAMELESS = 1 << 26
"""The name is not there, or only that of ECH."""
NO_TLS = 1 << 27
QUIC = 1 << 28
NEIGHBOURS = 1 << 29
"""The server answered some name with a publicly trusted chain."""
NAMED_BY_DNS = 1 << 30
OWNED = 1 << 31
"""It is known whose networks the name belongs to."""
QUIC_TRIED = 1 << 32
"""Over TCP, with a name to which the client also spoke QUIC."""
OLDER_CHOSEN = 1 << 33
"""TLS 1.3 was offered, and an older version was chosen."""
ODD_ACKS = 1 << 34
ALIKE = 1 << 35
"""Most servers of the capture answer SYNs alike."""
ONE_CLOCK = 1 << 36
"""The server shares a clock of TCP timestamps with others."""
SPECIMEN = 1 << 37
"""The leaf, or that of the session that is resumed, is a published one."""
MISISSUED = 1 << 38
LISTED_LEAF = 1 << 39
"""The leaf's key was itself seen intercepting."""
TWINS = 1 << 40
"""A publicly trusted certificate with the leaf's subject and names is there."""
SHARED_KEY = 1 << 41
"""The leaf's key is in several certificates, for several names."""
PRIVATE_ISSUER = 1 << 42
SHARED_ISSUER = 1 << 43
"""A private issuer, for several names at several servers."""
VERIFIED_ISSUER = 1 << 44
SHAPED_ISSUER = 1 << 45
"""A CA of the chain is shaped as those of 2018 to 2020."""
PRIVATE_ROOT = 1 << 46
"""The chain ends at a private root, or it cannot be told where."""
OPEN_END = 1 << 47
"""The issuer of the chain's last link is missing, or it cannot be told."""
NOT_PUBLIC = 1 << 48
"""A chain that is neither trusted on the day nor disputed."""
CUT = 1 << 49
LOCAL = 1 << 50
TARGET = 1 << 51
LISTED = 1 << 52
"""The very name is on a list of targets."""
STAMPED = 1 << 53
"""Timestamps of Certificate Transparency came with the certificate, or where it matters that none did."""
NAME_TRUSTED = 1 << 54
"""The name got a publicly trusted chain, here or elsewhere in the capture."""
COMPARED = 1 << 55
"""The server answered controls whose SYNs and TTLs can be compared."""
TIMELESS = 1 << 56
SYN_STAMPS = 1 << 57
"""The client offered TCP timestamps."""
ODD = 1 << 58
"""The name was answered otherwise than usual, here or elsewhere in the capture."""
BROKE_OFF = 1 << 59
"""The client's first encrypted record is as short as an alert, or somebody sent one."""
OTHER_TTL = 1 << 60
"""The TTL of the ServerHello, or of the Certificate, is not that of the SYN-ACK."""
ODD_ID = 1 << 61
"""The IP IDs of the server's side are no one counter."""
SOONER = 1 << 62
"""The ServerHello took less than half the time of the connection's own SYN-ACK, or that is not known."""
CLOSED = 1 << 63
"""The server's side answered the ClientHello with a FIN."""

_HIDDEN = (Absent.ENCRYPTED, Absent.UNDECRYPTABLE)
NEEDS: dict[Any, int] = {}
"""Each fact that declares something: all of the features it needs."""

F = TypeVar("F", bound=Callable[..., Any])


def needs(*features: int) -> Callable[[F], F]:
    """Declare the features without any one of which a fact's answer is always the same."""

    def declare(fact: F) -> F:
        NEEDS[fact] = sum(features)
        return fact

    return declare


def features_of(observation: Observation, surroundings: Surroundings) -> int:
    """The features of one connection."""
    found = 0
    facts = surroundings.chain_facts(observation)
    if facts is not None:
        found = chain_features(facts, surroundings)
        if not observation.chain_complete:
            found |= CUT | PRIVATE_ROOT | OPEN_END
        if observation.on_private_network:
            found |= LOCAL
        if (facts.leaf.has_scts or observation.timestamps or observation.staple) and (
            observation.target is not None or not facts.trusted
        ):
            found |= STAMPED
    if observation.target is not None:
        found |= (TARGET | LISTED) if observation.target.exact else TARGET
    if surroundings.moment(observation.time_ns):
        found |= TIMED
    if not observation.time_ns:
        found |= TIMELESS
    if surroundings.clock.contradicted:
        found |= CLOCK_CONTRADICTED
    if observation.possession is not None or observation.possession_frame is not None:
        found |= PROOF
    if observation.finished_ok is not None:
        found |= FINISHED
    if observation.resumed:
        found |= RESUMED
        full = None if observation.chain else surroundings.full_handshake(observation)
        if full and full.chain and surroundings.certificates[full.chain[0]].spki_sha256 in surroundings.specimens:
            found |= SPECIMEN
    if observation.resets or observation.absent is Absent.ONE_SIDED:
        found |= RESET
    if observation.client_resets:
        found |= CLIENT_RESET
    if observation.server_closed is not None:
        found |= CLOSED
    if observation.plain_frame is not None:
        found |= PLAIN
    if observation.alerts:
        found |= ALERT | BROKE_OFF
    elif observation.client_record is not None and observation.client_record <= ALERT_RECORD:
        found |= BROKE_OFF
    if observation.conflicts:
        found |= CONFLICT
    if observation.other_chain:
        found |= OTHER_CHAIN
    if observation.server_hello is None:
        found |= UNANSWERED
    if observation.absent in _HIDDEN:
        found |= HIDDEN
        if surroundings.odd_answers(observation.server_name):
            found |= ODD
    elif observation.absent is not None:
        found |= ABSENT
    if observation.name_status != "seen" or observation.ech_inner_unknown:
        found |= NAMELESS
    if not observation.tls:
        found |= NO_TLS
    if observation.quic is not None:
        found |= QUIC
    if surroundings.is_genuine(observation.server[0]):
        found |= NEIGHBOURS
    name = observation.server_name
    if name is not None:
        if surroundings.is_trusted_name(name):
            found |= NAME_TRUSTED
        if name in surroundings.addresses_of_names:
            found |= NAMED_BY_DNS
        if surroundings.networks is not None and surroundings.networks.service_of(name) is not None:
            found |= OWNED
        if observation.transport == "tcp" and surroundings.attempts.tried_quic(observation):
            found |= QUIC_TRIED
    version = observation.version
    if version is not None and observation.offers_tls13 and not is_tls13(version):
        found |= OLDER_CHOSEN
    hello = answering(observation)
    if hello is not None and (observation.syn_ack is None or hello.ttl != observation.syn_ack.ttl):
        found |= OTHER_TTL
    if answered_soon(observation):
        found |= SOONER
    if ids_break(observation):
        found |= ODD_ID
    if observation.odd_acks:
        found |= ODD_ACKS
    if observation.syn is not None and stamps(observation.syn.options) is not None:
        found |= SYN_STAMPS
    if surroundings.responders.is_compared(observation):
        found |= COMPARED
    if surroundings.responders.alike:
        found |= ALIKE
    if surroundings.responders.same_clock(observation):
        found |= ONE_CLOCK
    return found


def answering(observation: Observation) -> Mark | None:
    """The first packet of the server's side that completed a ServerHello or a Certificate."""
    for mark in observation.server_marks:
        if mark.what == "server_hello" or mark.what == "certificate":
            return mark
    return None


def answered_soon(observation: Observation) -> bool:
    """Did the ServerHello take less than half the time of the connection's own SYN-ACK? True where that is not seen.

    No SYN-ACK of the server can have come in less than the shortest, so the others need no comparison with that.
    """
    hello, answer = observation.client_hello, observation.server_hello
    if hello is None or answer is None or observation.transport != "tcp" or observation.proxied:
        return False
    took = answer.time_ns - hello.time_ns
    own = observation.syn_ack_ns or 0
    return took >= 0 and (own <= 0 or took * 2 < own)


def without_a_counter(mark: Mark) -> bool:
    """Is it a SYN-ACK or a reset with the IP ID zero, which Linux sends without a socket's counter?"""
    return mark.ip_id == 0 and (mark.what == "syn_ack" or mark.what == "reset")


def ids_break(observation: Observation) -> bool:
    """Is there an IP ID that cannot follow the one before in one counter? IPv6 has none.

    What is sent without a counter is left out, unless zero comes in others too (facts/stacks.py).
    """
    if ":" in observation.server[0]:
        return False
    before = -1
    left_out = zero = False
    for mark in observation.server_marks:
        if without_a_counter(mark):
            left_out = True
            continue
        now = mark.ip_id
        zero = zero or now == 0
        if before >= 0 and not steps_like_a_counter(before, now):
            return True
        before = now
    return left_out and zero


def chain_features(facts: ChainFacts, surroundings: Surroundings) -> int:
    """The features that every connection with this chain has that day."""
    kept = surroundings.chain_features.get(id(facts))
    if kept is not None and kept[0] is facts:
        return kept[1]
    leaf = facts.leaf
    found = CHAIN
    if facts.interception is not None:
        found |= KNOWN_KEY
    if facts.sha1_generation is not None:
        found |= LISTED_INTERMEDIATE
    if facts.imitation is not None:
        found |= IMITATION
    if facts.product is not None:
        found |= PRODUCT
    if facts.national is not None:
        found |= NATIONAL
    if facts.self_signed:
        found |= SELF_SIGNED
    if leaf.problem:
        found |= PROBLEM
    if facts.public is not None:
        found |= PUBLIC
    if facts.supplied is not None:
        found |= SUPPLIED
    elif facts.public is None:
        found |= UNANCHORED
    if facts.standing is not None and not facts.trusted:
        found |= DOUBTED
    if not facts.trusted and not facts.disputed:
        found |= NOT_PUBLIC
    if leaf.spki_sha256 in surroundings.specimens:
        found |= SPECIMEN
    if (leaf.serial, leaf.issuer_common_name) in surroundings.chains.reference.misissued:
        found |= MISISSUED
    if leaf.spki_sha256 in surroundings.interception_leaves:
        found |= LISTED_LEAF
    if surroundings.twins_of(leaf):
        found |= TWINS
    if (use := surroundings.keys.get(leaf.spki_sha256)) is not None and use.shared_key:
        found |= SHARED_KEY
    issuer = surroundings.use_of_issuer(facts)
    if issuer is not None:
        found |= PRIVATE_ISSUER
        if issuer.verified:
            found |= VERIFIED_ISSUER
        if issuer.shared_issuer:
            found |= SHARED_ISSUER
    if shaped_issuer(facts) is not None:
        found |= SHAPED_ISSUER
    if facts.issuer_missing and facts.end is not None:
        found |= OPEN_END
    if found & UNANCHORED and not facts.issuer_missing and not facts.self_signed and facts.end is not None:
        found |= PRIVATE_ROOT
    if len(surroundings.chain_features) > len(surroundings.chains.cache):  # it was begun anew, and keeps these no more
        surroundings.chain_features.clear()
    surroundings.chain_features[id(facts)] = facts, found
    return found
