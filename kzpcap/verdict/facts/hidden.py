"""Facts about connections whose certificate stays hidden (TLS 1.3): what remains, compared for the same name.

Virtual hosts of one address, and the nodes of one network, differ by nature: so only connections with the same name and
ClientHello fingerprint are compared, and two differences, one of them with a direction, are needed.
"""

from __future__ import annotations

from kzpcap.iana import CERTIFICATE_ALERTS, alert_name, is_tls13, version_name
from kzpcap.observations import Absent, Observation
from kzpcap.surroundings import Surroundings
from kzpcap.surroundings.profiles import ALERT_RECORD, NEEDED
from kzpcap.verdict.features import BROKE_OFF, ODD, OLDER_CHOSEN, needs
from kzpcap.verdict.features import HIDDEN as HIDDEN_CERTIFICATE
from kzpcap.verdict.logic import Finding

MAX_FRAMES = 6
HIDDEN = (Absent.ENCRYPTED, Absent.UNDECRYPTABLE)


@needs(BROKE_OFF)
def refused_hidden_certificate(observation: Observation, surroundings: Surroundings) -> Finding:
    """The client answered the encrypted flight with an alert, or a record of that size in its Finished's place."""
    del surroundings
    size = observation.client_record
    for alert in observation.alerts:
        if alert.from_client and alert.code in CERTIFICATE_ALERTS and not observation.chain:
            hidden = observation.absent in HIDDEN
            what = "the hidden certificate" if hidden else "a certificate that is not in the capture"
            says = f"the client refused {what} with the alert {alert_name(alert.code)}"
            return Finding(True, says, (alert.seen.frame,))
    hidden = observation.version is not None and is_tls13(observation.version) and not observation.resumed
    if not hidden or size is None or size > ALERT_RECORD:
        return Finding(None, "no refusal of a hidden certificate: the client went on, or its answer is not there")
    says = f"the client answered the hidden certificate with {size} bytes, the size of an alert: it broke off"
    return Finding(True, says, (observation.last_frame,))


@needs(OLDER_CHOSEN)
def fell_to_tls12(observation: Observation, surroundings: Surroundings) -> Finding:
    """TLS 1.3 was offered and an older version came without the sentinel that a server of 1.3 must send."""
    if observation.version is None or not observation.offers_tls13 or is_tls13(observation.version):
        return Finding(False, "TLS 1.3 was not offered, or was kept, or nothing was chosen")
    if observation.server_name is None:
        return Finding(None, "no name to compare by")
    if observation.sentinel:
        return Finding(False, "the refusal of TLS 1.3 was marked as the standard demands")
    other = surroundings.over_tls13(observation)
    if other is None:
        return Finding(None, "this name was seen at no TLS 1.3 in the capture")
    version = version_name(observation.version)
    says = f"{observation.server_name} speaks TLS 1.3 elsewhere here and answered with {version}, without the sentinel"
    frame = observation.server_hello.frame if observation.server_hello else observation.first_frame
    return Finding(True, f"{says} of RFC 8446 section 4.1.3", (frame, other))


@needs(HIDDEN_CERTIFICATE, ODD)
def hidden_answer_differs(observation: Observation, surroundings: Surroundings) -> Finding:
    """At least twice, this name was answered otherwise than usual in two kinds, and no name on no list was."""
    if observation.absent not in HIDDEN:
        return Finding(False, "no certificate is hidden here")
    odd = surroundings.odd_answers(observation.server_name)
    mine = next((kinds for profile, kinds in odd if profile.frame == observation.first_frame), None)
    if mine is None:
        return Finding(False, "no two kinds of difference from the other connections with this name")
    alike = [profile for profile, kinds in odd if kinds == mine]
    frames = tuple(profile.frame for profile in alike[:MAX_FRAMES])
    what = ", ".join(sorted(mine))
    if len(alike) < NEEDED:
        return Finding(None, f"answered otherwise than usual, but once ({what})", frames)
    if surroundings.control_answers < NEEDED:
        return Finding(None, f"too few names on no list to compare with ({what})", frames)
    control = surroundings.odd_control
    if control is not None:
        return Finding(None, f"{control[0]}, on no list, was answered otherwise too", (*frames, control[1]))
    return Finding(True, f"answered {len(alike)} times otherwise than usual: {what}; no control was", frames)
