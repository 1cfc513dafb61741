"""The rules, in order: the first that holds decides the state. This is the file a researcher edits.

To add a rule, put a Rule where its strength belongs (stronger evidence stands above weaker) and give it:

- `id`: lower case with dashes. An id is a public contract: its meaning never changes; a new meaning is a new id.
- `state`: what it concludes.
- `says`: one sentence that a journalist may print as it stands. It names a state or an operator only where `when`
  demands a verified signature by a shipped key.
- `when`: facts of facts/ under all_of, any_of, none_of (false, true, unknown after Kleene) or not_shown.
- `example`: a directory of captures/ in which it decides; tests/test_rules.py demands that it does. Empty only with a
  test there of the rule's name that builds what it needs.

No percentages: weak evidence changes the state, it never adds a number.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from kzpcap.observations import Absent
from kzpcap.verdict import facts
from kzpcap.verdict.logic import Fact, all_of, any_of, none_of, not_shown


class State(StrEnum):
    """Was TLS terminated by someone other than the server?"""

    INTERCEPTED = "intercepted"
    SUSPECTED = "suspected"
    INTERFERED = "interfered"
    GENUINE = "genuine"
    UNDETERMINED = "undetermined"


class Rule(NamedTuple):
    """One way to a state."""

    id: str
    state: State
    says: str
    because: str
    """The reason in half a line, for tables."""
    when: Fact
    example: str = ""


ANSWERED_SO = (not_shown(facts.possession_refuted), not_shown(facts.answer_in_dispute))
"""Nothing shows that the certificate was somebody else's word: neither another key's signature, nor another version."""
TRUSTED = any_of(facts.publicly_trusted, facts.trusted_by_supplied_anchor)

RULES: tuple[Rule, ...] = (
    Rule(
        "replayed-without-its-key",
        State.UNDETERMINED,
        "Whoever answered does not hold the key of the certificate it showed: a certificate that was replayed.",
        "replayed without key",
        all_of(facts.certificate_visible, facts.possession_refuted),
        "replayed-chain",
    ),
    Rule(
        "site-of-the-ca-itself",
        State.UNDETERMINED,
        "The site is the interception CA's own, or claims to be: that a CA signs for its own site is no interception.",
        "the CA's own site",
        all_of(
            any_of(
                facts.chain_verified_to_interception_key,
                facts.leaf_signed_by_known_intermediate,
                facts.imitates_known_ca,
                facts.bears_names_of_known_ca,
            ),
            facts.site_of_the_ca_itself,
            facts.name_matches,
            none_of(facts.chain_is_specimen),
        ),
    ),
    Rule(
        "signed-by-known-interception-ca",
        State.INTERCEPTED,
        "The certificate is signed by a key that is known to intercept.",
        "signed by a known key",
        all_of(facts.chain_verified_to_interception_key, facts.key_seen_intercepting, *ANSWERED_SO),
        "kz-2019-rcku",
    ),
    Rule(
        "signed-by-block-listed-ca",
        State.INTERCEPTED,
        "The certificate is signed by a key that browsers block as an interception CA.",
        "a block-listed key",
        all_of(
            facts.chain_verified_to_interception_key,
            none_of(facts.key_seen_intercepting),
            *ANSWERED_SO,
        ),
    ),
    Rule(
        "signed-by-known-intermediate",
        State.INTERCEPTED,
        "The certificate is signed by an intermediate that is known, by its fingerprint, to intercept.",
        "a known intermediate",
        all_of(facts.leaf_signed_by_known_intermediate, *ANSWERED_SO),
    ),
    Rule(
        "signed-by-supplied-interception-ca",
        State.INTERCEPTED,
        "The certificate is signed by an interception CA that was given on the command line.",
        "the supplied CA's key",
        all_of(facts.chain_verified_to_supplied_ca, *ANSWERED_SO),
        "lab-interception",
    ),
    Rule(
        "known-interception-leaf",
        State.INTERCEPTED,
        "Whoever answered holds the key of a certificate that was itself seen intercepting.",
        "a known leaf's key",
        all_of(facts.leaf_seen_intercepting, facts.possession_proved),
    ),
    Rule(
        "resigned-by-product",
        State.INTERCEPTED,
        "The certificate is a re-signed copy of the genuine one, under the names of a product that does this.",
        "re-signed by a product",
        all_of(facts.signed_as_product, any_of(facts.resigned_copy, facts.may_be_resigned_copy), *ANSWERED_SO),
        "products-and-strangers",
    ),
    Rule(
        "resigned-copy-of-genuine-certificate",
        State.INTERCEPTED,
        "The certificate is a re-signed copy of the genuine one, which is in the same capture or was given.",
        "re-signed copy",
        all_of(facts.resigned_copy, *ANSWERED_SO),
        "resigned-copy",
    ),
    Rule(
        "resumes-intercepted-session",
        State.INTERCEPTED,
        "The session resumes one that was issued behind an interception certificate.",
        "resumed, intercepted",
        all_of(facts.resumes_intercepted_session),
        "resumed-session",
    ),
    Rule(
        "reset-by-another-sender",
        State.INTERFERED,
        "The ClientHello was answered with a reset that came from another device than the SYN-ACK.",
        "reset by another",
        all_of(facts.reset_by_another_sender),
        "reset-after-client-hello",
    ),
    Rule(
        "handshake-reset-by-another-sender",
        State.INTERFERED,
        "A reset from another device than the SYN-ACK's and the ServerHello's broke the handshake off.",
        "broken off by another",
        all_of(facts.handshake_reset_by_another_sender),
    ),
    Rule(
        "client-reset-by-another-sender",
        State.INTERFERED,
        "The connection was reset in the client's name by another device.",
        "reset as the client",
        all_of(facts.client_reset_by_another_sender),
        "missing-pieces",
    ),
    Rule(
        "closed-by-another-sender",
        State.INTERFERED,
        "The ClientHello was answered with the connection's end (FIN) by another device than the one of the SYN-ACK.",
        "closed by another",
        all_of(facts.closed_by_another_sender),
        "reset-after-client-hello",
    ),
    Rule(
        "plain-answer-by-another-sender",
        State.INTERFERED,
        "The ClientHello was answered in plain text by another device than the one that sent the SYN-ACK.",
        "answered by another",
        all_of(facts.plain_answer, facts.plain_answer_by_another_sender),
        "block-page",
    ),
    Rule(
        "alert-by-another-sender",
        State.INTERFERED,
        "The ClientHello was answered with an alert that came from another device than the SYN-ACK.",
        "alert by another",
        all_of(facts.alert_by_another_sender),
        "block-page",
    ),
    Rule(
        "failed-repeatedly-beside-controls",
        State.INTERFERED,
        "This name failed repeatedly while controls around it got through.",
        "only this name failed",
        all_of(facts.failed_repeatedly_beside_controls),
        "silent-beside-controls",
    ),
    Rule(
        "interception-chain-in-conflicting-bytes",
        State.SUSPECTED,
        "Two chains came for the same bytes of the connection, and one is signed by an interception key.",
        "two chains at once",
        all_of(facts.server_bytes_conflict, facts.other_chain_by_interception_key),
        "tricks",
    ),
    Rule(
        "interception-chain-in-dispute",
        State.SUSPECTED,
        "An interception key signed the chain, but the server's answer came in two versions: which was taken is open.",
        "one version of two",
        all_of(
            facts.answer_in_dispute,
            any_of(
                facts.chain_verified_to_interception_key,
                facts.leaf_signed_by_known_intermediate,
                facts.chain_verified_to_supplied_ca,
            ),
        ),
    ),
    Rule(
        "imitates-known-interception-ca",
        State.SUSPECTED,
        "The certificate bears the names of a known interception CA, but not its key.",
        "a known CA's names",
        all_of(facts.imitates_known_ca),
        "names-without-the-key",
    ),
    Rule(
        "bears-names-of-known-interception-ca",
        State.SUSPECTED,
        "The certificate bears the names of a known interception CA; no path of CAs leads from its key to it.",
        "CA names, unverified",
        all_of(facts.bears_names_of_known_ca),
        "other-authorities",
    ),
    Rule(
        "signed-abroad-by-national-ca",
        State.SUSPECTED,
        "A state's own CA, which no browser trusts, signed for a listed name that is not of its country.",
        "a state's CA, abroad",
        all_of(facts.signed_abroad_by_national_ca, facts.name_matches, not_shown(facts.possession_refuted)),
    ),
    Rule(
        "shows-known-interception-leaf",
        State.SUSPECTED,
        "The certificate is one that was itself seen intercepting; nothing shows that its key was there.",
        "a known leaf, no proof",
        all_of(facts.leaf_seen_intercepting),
        "other-authorities",
    ),
    Rule(
        "misissued-certificate",
        State.SUSPECTED,
        "The certificate bears serial and issuer of one that a public CA issued to somebody else than the site.",
        "known as mis-issued",
        all_of(facts.misissued, not_shown(facts.possession_refuted)),
    ),
    Rule(
        "may-be-resigned-copy",
        State.SUSPECTED,
        "The certificate fits a re-signed copy of the genuine one, and may be a second one of the site's own.",
        "fits a re-signed copy",
        all_of(facts.may_be_resigned_copy, not_shown(facts.possession_refuted)),
    ),
    Rule(
        "structural-marks",
        State.SUSPECTED,
        "The chain has the structural marks of known interception certificates, and no known key.",
        "shaped as known ones",
        all_of(
            any_of(facts.leaf_shaped_as_in_2019, facts.issuer_shaped_as_in_2018_to_2020),
            none_of(facts.chain_verified_to_interception_key, facts.leaf_signed_by_known_intermediate),
        ),
        "products-and-strangers",
    ),
    Rule(
        "product-by-issuer-names",
        State.SUSPECTED,
        "The certificate bears the issuer names of a product that re-signs connections: antivirus, gateway or proxy.",
        "names of a product",
        all_of(facts.signed_as_product, facts.name_matches, not_shown(facts.possession_refuted)),
        "products-and-strangers",
    ),
    Rule(
        "private-issuer-for-targets-only",
        State.SUSPECTED,
        "One private issuer signs for several listed names and for no other, while other names got public chains.",
        "signs for targets only",
        all_of(facts.issuer_for_targets_only, facts.name_matches, not_shown(facts.possession_refuted)),
        "products-and-strangers",
    ),
    Rule(
        "hidden-answer-differs",
        State.SUSPECTED,
        "The certificate is hidden; this name was repeatedly answered otherwise than usual, and no control was.",
        "answered otherwise",
        all_of(facts.absent(Absent.ENCRYPTED, Absent.UNDECRYPTABLE), facts.hidden_answer_differs),
        "hidden-interception",
    ),
    Rule(
        "publicly-trusted",
        State.GENUINE,
        "The chain was publicly trusted on that day, for the name asked.",
        "publicly trusted then",
        all_of(
            facts.publicly_trusted,
            facts.name_matches,
            facts.within_dates,
            none_of(facts.conflict_without_proof),
            not_shown(facts.possession_refuted),
        ),
        "kz-2019-rcku-genuine",
    ),
    Rule(
        "trusted-by-supplied-anchor",
        State.GENUINE,
        "The chain is linked to a trust anchor given on the command line, for the name asked.",
        "by a supplied anchor",
        all_of(
            facts.trusted_by_supplied_anchor,
            facts.name_matches,
            facts.within_dates,
            none_of(facts.conflict_without_proof),
            not_shown(facts.possession_refuted),
        ),
        "lab-interception",
    ),
    Rule(
        "no-clock",
        State.UNDETERMINED,
        "The packets have no time: whether the chain was trusted on the day cannot be judged.",
        "the capture has no clock",
        all_of(facts.no_clock),
    ),
    Rule(
        "clock-contradicted",
        State.UNDETERMINED,
        "What the capture holds contradicts its clock: whether the chain was trusted on the day cannot be judged.",
        "the clock is contradicted",
        all_of(facts.clock_contradicted),
    ),
    Rule(
        "other-name",
        State.UNDETERMINED,
        "The chain was trusted on that day, for another name than the one asked.",
        "other name",
        all_of(TRUSTED, none_of(facts.name_matches)),
        "untrusted-kinds",
    ),
    Rule(
        "no-name-sent",
        State.UNDETERMINED,
        "The chain was trusted on that day; the client asked for no name to compare it with.",
        "trusted; no name was asked",
        all_of(TRUSTED, facts.no_name_sent),
        "kz-2019-ladder",
    ),
    Rule(
        "name-not-captured",
        State.UNDETERMINED,
        "The chain was trusted on that day; the name that was asked for was not captured.",
        "trusted; name not captured",
        all_of(TRUSTED, facts.name_not_captured),
        "missing-pieces",
    ),
    Rule(
        "outside-its-dates",
        State.UNDETERMINED,
        "The chain is linked to a trusted root, and was outside its dates on that day.",
        "certificate out of date",
        all_of(TRUSTED, none_of(facts.within_dates)),
        "untrusted-kinds",
    ),
    Rule(
        "conflicting-server-bytes",
        State.UNDETERMINED,
        "The chain was trusted, but the server's answer came in two versions.",
        "conflicting bytes",
        all_of(TRUSTED, facts.conflict_without_proof),
        "missing-pieces",
    ),
    Rule(
        "signed-by-national-ca",
        State.UNDETERMINED,
        "The chain ends at a national CA, which is in lawful use and by itself no interception.",
        "a national CA",
        all_of(facts.signed_by_national_ca),
        "other-authorities",
    ),
    Rule(
        "path-unfit-for-tls",
        State.UNDETERMINED,
        "The chain leads to a public root by a certificate that may not stand in a TLS server's chain.",
        "may not serve TLS",
        all_of(facts.path_unfit_for_tls),
    ),
    Rule(
        "trust-disputed",
        State.UNDETERMINED,
        "The chain ends at a root whose public trust was disputed on that day.",
        "trust disputed that day",
        all_of(facts.trust_disputed),
        "other-authorities",
    ),
    Rule(
        "root-public-at-another-time",
        State.UNDETERMINED,
        "The chain ends at a root that was publicly trusted at another time, not on that day.",
        "root public at another time",
        all_of(facts.root_public_at_another_time),
    ),
    Rule(
        "unreadable-certificate",
        State.UNDETERMINED,
        "The certificate cannot be parsed.",
        "unreadable certificate",
        all_of(facts.unreadable),
        "missing-pieces",
    ),
    Rule(
        "self-signed",
        State.UNDETERMINED,
        "The certificate signed itself: a router, a test server or an interceptor may do that.",
        "self-signed",
        all_of(facts.self_signed),
        "untrusted-kinds",
    ),
    Rule(
        "private-root",
        State.UNDETERMINED,
        "The chain ends at a private root that no public bundle had: a company, a product or an interceptor.",
        "signed by a private root",
        all_of(facts.private_root),
        "missing-pieces",
    ),
    Rule(
        "issuer-missing",
        State.UNDETERMINED,
        "No verified path leads from the chain's last link to an issuer in the capture or in the reference data.",
        "issuer not known",
        all_of(facts.issuer_missing),
        "untrusted-kinds",
    ),
    Rule(
        "probe-unanswered",
        State.UNDETERMINED,
        "A TTL-limited probe that no server answered: by itself nothing at all.",
        "TTL-limited probe",
        all_of(facts.probe_unanswered),
        "kz-2019-ladder",
    ),
    Rule(
        "certificate-encrypted",
        State.UNDETERMINED,
        "TLS 1.3: the certificate is encrypted, and without a key log nothing can be said of it.",
        "TLS 1.3, encrypted",
        all_of(facts.absent(Absent.ENCRYPTED, Absent.UNDECRYPTABLE)),
        "tls13-encrypted",
    ),
    Rule(
        "session-resumed",
        State.UNDETERMINED,
        "A resumed session: no certificate was sent.",
        "resumed session",
        all_of(facts.absent(Absent.RESUMED)),
        "resumed-session",
    ),
    Rule(
        "plain-answer",
        State.UNDETERMINED,
        "The ClientHello was answered in plain text; nothing shows another sender.",
        "answered in plain text",
        all_of(facts.plain_answer),
        "missing-pieces",
    ),
    Rule(
        "refused-with-alert",
        State.UNDETERMINED,
        "The ClientHello was answered with an alert: the server may refuse this name.",
        "alert, by whom unknown",
        all_of(facts.server_alert),
        "block-page",
    ),
    Rule(
        "reset-once",
        State.UNDETERMINED,
        "Reset after the ClientHello; nothing shows another sender, and the server may refuse this name.",
        "reset, by whom unknown",
        all_of(facts.failed_with("reset")),
        "reset-after-client-hello",
    ),
    Rule(
        "closed-once",
        State.UNDETERMINED,
        "Closed after the ClientHello; nothing shows another sender, and the server may refuse this name.",
        "closed, by whom unknown",
        all_of(facts.failed_with("closed")),
        "reset-after-client-hello",
    ),
    Rule(
        "no-answer",
        State.UNDETERMINED,
        "No answer to the ClientHello: one silence may be loss.",
        "no answer, maybe loss",
        all_of(facts.failed_with("silent")),
        "missing-pieces",
    ),
    Rule(
        "one-sided",
        State.UNDETERMINED,
        "Only the client's direction was captured.",
        "one direction only",
        all_of(facts.absent(Absent.ONE_SIDED)),
        "missing-pieces",
    ),
    Rule(
        "payload-cut",
        State.UNDETERMINED,
        "A connection to a TLS port whose bytes were cut off in the capture: whether they were TLS cannot be told.",
        "payload not captured",
        all_of(facts.payload_cut),
    ),
    Rule(
        "certificate-truncated",
        State.UNDETERMINED,
        "The certificate was cut short in the capture.",
        "certificate cut short",
        all_of(facts.absent(Absent.TRUNCATED)),
        "missing-pieces",
    ),
    Rule(
        "certificate-message-unreadable",
        State.UNDETERMINED,
        "The part of the handshake with the certificate could not be read.",
        "handshake unreadable",
        all_of(facts.absent(Absent.MALFORMED, Absent.LIMIT)),
    ),
    Rule(
        "no-tls",
        State.UNDETERMINED,
        "A TCP connection to a TLS port with no TLS in it.",
        "no TLS in it",
        all_of(facts.no_tls),
        "missing-pieces",
    ),
    Rule(
        "handshake-not-captured",
        State.UNDETERMINED,
        "The handshake, or the part with the certificate, was not captured.",
        "handshake not captured",
        all_of(facts.absent(Absent.NOT_CAPTURED)),
        "mid-connection",
    ),
    Rule(
        "certificate-scrubbed",
        State.UNDETERMINED,
        "The certificate was taken out of the capture before it was handed on.",
        "certificate taken out",
        all_of(facts.absent(Absent.SCRUBBED)),
    ),
    Rule(
        "no-certificate",
        State.UNDETERMINED,
        "The handshake has no certificate of the server.",
        "no certificate",
        all_of(facts.absent(Absent.NOT_SENT, Absent.NOT_REACHED)),
        "missing-pieces",
    ),
)

NOTHING = Rule(
    "nothing-to-judge",
    State.UNDETERMINED,
    "Nothing in the capture decides this connection.",
    "nothing to judge",
    all_of(),
)

REMARKS: tuple[Fact, ...] = (
    facts.possession_proved,
    facts.finished_verified,
    facts.certificate_logged,
    facts.resigned_copy,
    facts.certificate_for_another_name,
    facts.certificate_for_listed_name,
    facts.chain_is_specimen,
    facts.server_genuine_for_other_names,
    facts.hello_by_another_sender,
    facts.client_hello_by_another_sender,
    facts.answered_from_another_distance,
    facts.syn_answered_unlike_controls,
    facts.timestamps_break,
    facts.echoes_no_timestamp,
    facts.ip_id_breaks,
    facts.acknowledged_unsent,
    facts.one_stack_for_many_servers,
    facts.one_clock_for_several_servers,
    facts.answered_sooner_than_the_syn,
    facts.address_given_by_dns,
    facts.address_not_given_by_dns,
    facts.address_of_the_names_owner,
    facts.address_of_another_owner,
    facts.server_bytes_conflict,
    facts.tls13_not_kept,
    facts.fell_to_tls12,
    facts.refused_hidden_certificate,
    facts.inner_name_encrypted,
    facts.one_key_for_several_names,
    facts.one_issuer_for_several_servers,
    facts.certificate_changes_for_name,
    facts.quic_tried_before,
    facts.quic_turned_back,
)
"""Facts that decide nothing by themselves and are told beside the verdict where they are true."""
