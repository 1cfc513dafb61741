"""Everything one chain shows, answered separately: anchors, known interceptors, names, dates.

Four answers and never one "valid": is it linked to an anchor by signatures; was that anchor public on the day; does
it carry the name; was it within its dates. Two more for our purpose: does a verified path lead to a key that is known
to intercept, and if not, does it bear such a CA's names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain as in_turn
from itertools import islice
from typing import NamedTuple

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.linkage import (
    MAX_CHECKS,
    MAX_DEPTH,
    MAX_TRUSTED,
    Path,
    Pool,
    fits,
    likely_first,
    paths_to,
    signed_by,
    signed_itself,
)
from kzpcap.certificates.public_trust import PublicTrust, Standing
from kzpcap.reference import Generation, KnownCA, NationalCA, Product, Reference
from kzpcap.reference.targets import DAY_NS

MAX_CHAINS = 4_096
"""Judged chains that are kept, some kilobytes each."""
MAX_WEIGHT = 32 << 20
"""Bytes, about, of their certificates: hostile ones are large."""


class Imitation(NamedTuple):
    """A chain that bears a known CA's name or key id without a verified signature by it."""

    ca: KnownCA
    mark: str
    """issuer_name or key_id."""
    fails: bool
    """The signature was checked against the known key and does not fit (else there was nothing to check)."""
    signed: bool = False
    """It fits, and yet what it signed may sign no other: no path of CAs leads there."""


class ChainFacts(NamedTuple):
    """What is known of one chain (leaf first) at one time."""

    leaf: Certificate
    public: Path | None = None
    standing: Standing | None = None
    supplied: Path | None = None
    """A verified path to a trust anchor of the command line."""
    interception: Path | None = None
    interception_ca: KnownCA | None = None
    sha1_generation: Generation | None = None
    """The leaf is signed by a certificate whose SHA-1 is that of a known intermediate."""
    national: NationalCA | None = None
    imitation: Imitation | None = None
    product: Product | None = None
    """The names of its issuer are those of a product that re-signs connections."""
    self_signed: bool = False
    issuer_missing: bool = False
    """Nobody on the wire, in the capture or in the reference data signed the last link."""
    links: tuple[Certificate, ...] = ()
    """The leaf and its issuers as far as verified signatures go."""
    shown: tuple[Certificate, ...] = ()
    """Those of `links` that the server itself sent: names of the others, from other connections, are not its own."""
    gap: str = ""
    """Where the issuer is missing though somebody of its name is known: `refused` or `unchecked`."""

    @property
    def end(self) -> Certificate | None:
        """The last certificate reached by verified signatures."""
        return self.links[-1] if self.links else None

    @property
    def last_shown(self) -> Certificate | None:
        """The last link that the server sent: it names who should be above."""
        return self.shown[-1] if self.shown else None

    @property
    def trusted(self) -> bool:
        """Publicly trusted on the day, or linked to a supplied anchor."""
        return self.supplied is not None or (self.standing is not None and self.standing.trusted)

    @property
    def disputed(self) -> str:
        """Why the public trust of that day is disputed; empty where it is not."""
        return self.standing.disputed if self.standing and not self.trusted else ""

    @property
    def unfit(self) -> str:
        """Why the path to a public root may not stand in a TLS server's chain; empty where it may."""
        return self.standing.unfit if self.standing and not self.trusted else ""

    def within_dates(self, time_ns: int) -> str:
        """valid, expired or not_yet at a time: of the leaf, and of the intermediates of the trusted path."""
        path = self.supplied or self.public
        return _dates(path.certificates if path else (self.leaf,), time_ns)


def _dates(path: tuple[Certificate, ...], time_ns: int) -> str:
    """valid, expired or not_yet at a time: of a path without its anchor."""
    for certificate in path[:-1] or path:
        if time_ns < certificate.not_before:
            return "not_yet"
        if time_ns > certificate.not_after:
            return "expired"
    return "valid"


def _rank(standing: Standing) -> int:
    return 3 if standing.trusted else 2 if standing.disputed else 0 if standing.unfit else 1


KNOWN_CRITICAL = frozenset(f"2.5.29.{number}" for number in (15, 17, 18, 19, 30, 31, 32, 33, 35, 36, 37, 54)) | {
    "1.3.6.1.5.5.7.1.1"
}
"""Extensions that may be critical and are understood here, or do not matter to who signed for which name."""
POISON = "1.3.6.1.4.1.11129.2.4.3"


def unfit(path: Path) -> str:
    """Why a verified path may not stand in a TLS server's chain (RFC 5280 section 6.1); empty where it may.

    The anchor's own purposes and extensions do not count, but for the names that it may sign for.
    """
    below = path.certificates[:-1] or path.certificates
    leaf = path.certificates[0]
    for certificate in below:
        name = certificate.common_name or certificate.subject
        if not certificate.serves_tls:
            return f'"{name}" is not for TLS servers (extendedKeyUsage)'
        for oid, critical in certificate.extensions:
            if oid == POISON:
                return f'"{name}" is a precertificate (RFC 6962), which no client may accept'
            if critical and oid not in KNOWN_CRITICAL:
                return f'"{name}" has a critical extension that is not known ({oid})'
    for certificate in path.certificates[1:]:
        for name in leaf.dns_names:
            if any(_within(name, tree) for tree in certificate.excluded_names):
                return f'"{certificate.common_name}" may not sign for {name} (nameConstraints)'
            permitted = certificate.permitted_names
            if permitted is not None and not any(_within(name, tree) for tree in permitted):
                return f'"{certificate.common_name}" may not sign for {name} (nameConstraints)'
    return ""


def _within(name: str, tree: str) -> bool:
    """Is a DNS name inside a subtree (RFC 5280 section 4.2.1.10)?"""
    name, tree = name.lower().removeprefix("*.").rstrip("."), tree.lower().lstrip(".").rstrip(".")
    return not tree or name == tree or name.endswith("." + tree)


@dataclass
class ChainJudge:
    """Judges chains of one capture; every distinct chain once a day of capture time."""

    reference: Reference
    trust: PublicTrust
    pool: Pool = field(default_factory=Pool)
    """CA certificates seen anywhere in the capture."""
    cache: dict[tuple[tuple[str, ...], int], ChainFacts] = field(default_factory=dict)
    weight: int = 0
    """Bytes, about, of the certificates in `cache`."""
    weights: dict[tuple[tuple[str, ...], int], int] = field(default_factory=dict)
    products: dict[tuple[str, str], Product | None] = field(default_factory=dict)
    """Common name and organization of an issuer to the product with these names."""

    def __post_init__(self) -> None:
        self.shipped = Pool.of(self.reference.intermediates, MAX_TRUSTED)
        self.anchors = Pool.of(self.reference.anchors, MAX_TRUSTED)
        self.interceptors = Pool.of((ca.certificate for ca in self.reference.interception_cas), MAX_TRUSTED)
        self.nationals = Pool.of((ca.certificate for ca in self.reference.national_cas if ca.certificate), MAX_TRUSTED)
        self.known = {ca.certificate.spki_sha256: ca for ca in reversed(self.reference.interception_cas)}
        self.national = {ca.spki_sha256: ca for ca in self.reference.national_cas}

    def judge(self, chain: tuple[Certificate, ...], time_ns: int) -> ChainFacts:
        """All facts of one chain at a time (its anchors by the bundle of that day)."""
        names = tuple(certificate.sha256 for certificate in chain)
        found = self.judged(names, time_ns)
        if found is None:
            weight = sum(certificate.weight for certificate in chain)
            if len(self.cache) >= MAX_CHAINS or self.weight + weight > MAX_WEIGHT:
                for old in list(islice(self.cache, len(self.cache) // 2 + 1)):
                    self.weight -= self.weights.pop(old)
                    del self.cache[old]
            self.weight += weight
            wanted = names, time_ns // DAY_NS
            self.weights[wanted] = weight
            found = self.cache[wanted] = self._judge(chain, time_ns)
        return found

    def judged(self, names: tuple[str, ...], time_ns: int) -> ChainFacts | None:
        """The facts of a chain that was judged already; `names` are the SHA-256 of its certificates."""
        return self.cache.get((names, time_ns // DAY_NS))

    def known_issuer(self, certificate: Certificate) -> Certificate | None:
        """The known interception CA that signed another one, verified; None where there is none."""
        for ca in self.reference.interception_cas:
            known = ca.certificate
            if known.sha256 == certificate.sha256 or known.subject_key != certificate.issuer_key:
                continue
            if signed_by(certificate, known):
                return known
        return None

    def _judge(self, chain: tuple[Certificate, ...], time_ns: int) -> ChainFacts:
        leaf = chain[0]
        if leaf.problem and not leaf.subject_key:
            return ChainFacts(leaf)
        pools = (Pool.of(chain[1:], limit=MAX_CHECKS), self.pool, self.shipped)
        public, standing = self._public(leaf, pools, time_ns)
        supplied = None
        if self.reference.anchors:
            fit = [path for path in paths_to(leaf, pools, self.anchors.named) if not unfit(path)]
            dated = (path for path in fit if _dates(path.certificates, time_ns) == "valid")
            supplied = next(dated, fit[0] if fit else None)
        trusted = standing is not None and standing.trusted
        interception, known = self._interception(leaf, pools, public if trusted else None)
        sha1 = None
        for certificate in chain[1:]:
            generation = self.reference.interception_sha1.get(certificate.sha1)
            if generation and signed_by(leaf, certificate):
                sha1 = generation
        climb = self._climb(leaf, pools)
        end = climb[-1]
        own = signed_itself(leaf)
        national = self._national(leaf, pools, climb)
        sent = {certificate.sha256 for certificate in chain}
        shown = tuple(certificate for certificate in climb if certificate.sha256 in sent)
        missing = not (own or public or supplied or interception or sha1 or national) and not signed_itself(end)
        return ChainFacts(
            leaf,
            public,
            standing,
            supplied,
            interception,
            known,
            sha1,
            national,
            None if interception or sha1 or public or supplied else self._imitation(shown),
            None if interception or sha1 or public or supplied or national or own else self._product(shown),
            own,
            missing,
            climb,
            shown,
            self._gap(end, pools) if missing else "",
        )

    def _public(self, leaf: Certificate, pools: tuple[Pool, ...], time_ns: int) -> tuple[Path | None, Standing | None]:
        """The path whose anchor stood best on the day; of equals, one within its dates.

        One intermediate may have several certificates, and clients take any that serves.
        """
        best: tuple[Path | None, Standing | None] = (None, None)
        highest = (-1, False)
        for path in paths_to(leaf, pools, self.trust.roots_named):
            standing = self.trust.standing(path.certificates, time_ns)
            if standing and unfit(path):
                standing = standing._replace(trusted=False, disputed="", unfit=unfit(path))
            if standing and not time_ns:  # no day to judge by: in which bundles the root was is all that can be said
                standing = standing._replace(trusted=False, disputed="")
            if standing:
                rank = _rank(standing), _dates(path.certificates, time_ns) == "valid"
                if rank > highest:
                    best, highest = (path, standing), rank
        return best

    def _interception(
        self, leaf: Certificate, pools: tuple[Pool, ...], trusted: Path | None
    ) -> tuple[Path | None, KnownCA | None]:
        """A verified path from the leaf to a known key.

        Names lead to the keys that are tried first; a leaf that is not publicly trusted is then tried with every
        known key, whatever its names say. A known CA shown as a leaf signed nothing: its path is itself alone.
        Of a chain that is trusted that day, only the `trusted` path itself counts: who holds an interception key can
        sign a certificate for the key of any public CA, and signs nothing of what that CA signed.
        """
        itself = self.known.get(leaf.spki_sha256)
        if itself is not None and (leaf.sha256 == itself.certificate.sha256 or leaf.is_ca or leaf.self_named):
            return Path((leaf,)), itself
        if trusted is not None:
            for length, certificate in enumerate(trusted.certificates[1:], 2):
                if certificate.spki_sha256 in self.known:
                    return Path(trusted.certificates[:length]), self.known[certificate.spki_sha256]
            return None, None
        for path in paths_to(leaf, pools, self.interceptors.named):
            return path, self.known[path.anchor.spki_sha256]
        for ca in self.reference.interception_cas:
            known = ca.certificate
            if known.subject_key == leaf.issuer_key or not fits(leaf, known):
                continue
            if signed_by(leaf, known):
                return Path((leaf, ca.certificate)), ca
        return None, None

    def _national(
        self, leaf: Certificate, pools: tuple[Pool, ...], climb: tuple[Certificate, ...]
    ) -> NationalCA | None:
        for path in paths_to(leaf, pools, self.nationals.named):
            return self.national[path.anchor.spki_sha256]
        return next((self.national[one.spki_sha256] for one in climb[1:] if one.spki_sha256 in self.national), None)

    def _climb(self, leaf: Certificate, pools: tuple[Pool, ...]) -> tuple[Certificate, ...]:
        """The leaf and its issuers as far as verified signatures go."""
        path, seen, left = [leaf], {leaf.sha256}, MAX_CHECKS
        while not signed_itself(path[-1]) and len(path) < MAX_DEPTH:
            named = in_turn.from_iterable(likely_first(path[-1], pool.named(path[-1].issuer_key)) for pool in pools)
            fit = [one for one in named if one.sha256 not in seen and fits(path[-1], one)][:left]
            tried = next((at for at, one in enumerate(fit) if signed_by(path[-1], one)), None)
            if tried is None:
                break
            left -= tried + 1
            seen.add(fit[tried].sha256)
            path.append(fit[tried])
        return tuple(path)

    def _gap(self, last: Certificate, pools: tuple[Pool, ...]) -> str:
        """Is somebody known who bears the name of the last link's issuer? One who signed it by a path that is refused,
        or whose signature is of a kind that is not checked here; empty where there is none.
        """
        own = (*pools, self.anchors, self.interceptors, self.nationals)
        known = in_turn(
            (one for pool in own for one in pool.named(last.issuer_key)), self.trust.roots_named(last.issuer_key)
        )
        itself = (last,) if last.subject_key == last.issuer_key else ()
        signed = [signed_by(last, one) for one in (*itself, *islice(known, MAX_CHECKS))]
        return "refused" if True in signed else "unchecked" if None in signed else ""

    def _product(self, shown: tuple[Certificate, ...]) -> Product | None:
        """A product whose issuer names one of the chain's links bears."""
        for certificate in shown:
            names = certificate.issuer_common_name, certificate.issuer_organization
            if names not in self.products:
                if len(self.products) >= MAX_CHAINS:
                    self.products.clear()
                signing = (product for product in self.reference.products if product.signs_as(certificate))
                self.products[names] = next(signing, None)
            if self.products[names] is not None:
                return self.products[names]
        return None

    def _imitation(self, shown: tuple[Certificate, ...]) -> Imitation | None:
        """Names or key ids of a known CA over a leaf that no known key signed.

        Some intermediates bear their root's name and were never published: under that name a signature that no known
        key made refutes nothing, unless the key id claims the known key itself.
        """
        for certificate in shown:
            for ca in self.reference.interception_cas:
                known = ca.certificate
                claims_key = bool(known.subject_key_id) and certificate.authority_key_id == known.subject_key_id
                if certificate.issuer_key != known.subject_key and not claims_key:
                    continue
                open_end = certificate.issuer_key in self.reference.unpublished_names and not claims_key
                signed = signed_by(certificate, known)
                mark = "issuer_name" if certificate.issuer_key == known.subject_key else "key_id"
                return Imitation(ca, mark, not open_end and signed is False, bool(signed))
        return None
