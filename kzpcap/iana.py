"""Registry numbers with their names (IANA TLS parameters); an unknown number keeps its value."""

from __future__ import annotations

HANDSHAKE_TYPES = {
    0: "hello_request", 1: "client_hello", 2: "server_hello", 3: "hello_verify_request", 4: "new_session_ticket",
    5: "end_of_early_data", 8: "encrypted_extensions", 11: "certificate", 12: "server_key_exchange",
    13: "certificate_request", 14: "server_hello_done", 15: "certificate_verify", 16: "client_key_exchange",
    20: "finished", 21: "certificate_url", 22: "certificate_status", 23: "supplemental_data", 24: "key_update",
    25: "compressed_certificate", 67: "next_protocol", 254: "message_hash",
}  # fmt: skip

ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow",
    30: "decompression_failure", 40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate",
    43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
    47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
    60: "export_restriction", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
    110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
    113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
    116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}  # fmt: skip

CERTIFICATE_ALERTS = frozenset({42, 43, 44, 45, 46, 48})
"""Alerts with which a client refuses the certificate it was shown."""

TLS_VERSIONS = {
    0x0002: "SSL 2.0", 0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3",
    0xFEFF: "DTLS 1.0", 0xFEFD: "DTLS 1.2", 0xFEFC: "DTLS 1.3",
}  # fmt: skip

TLS_PORTS = frozenset({443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 5061, 5223, 8443})
"""TCP ports where TLS is expected from the first byte (IANA service names)."""


def alert_name(code: int) -> str:
    """An alert description's registered name, or its number."""
    return ALERTS.get(code, f"alert {code}")


def version_name(version: int) -> str:
    """A version's name; drafts of TLS 1.3 are told by number (RFC 8446 before publication: 0x7fNN)."""
    if version >> 8 == 0x7F:
        return f"TLS 1.3 draft {version & 0xFF}"
    if version & 0xFF00 == 0xFB00:
        return f"TLS 1.3 draft {version & 0xFF} (experimental)"
    return TLS_VERSIONS.get(version, f"{version:#06x}")


def is_grease(value: int) -> bool:
    """RFC 8701 values, reserved so that peers stay tolerant."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def is_tls13(version: int) -> bool:
    """TLS 1.3 or one of its drafts: the Certificate is encrypted."""
    return version in (0x0304, 0xFEFC) or version >> 8 in (0x7F, 0x7E, 0xFB)
