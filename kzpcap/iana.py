"""Registry numbers with their names (IANA TLS parameters); an unknown number keeps its value."""

from __future__ import annotations

import re

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

PROTOCOL = re.compile(
    rb"http/(0\.9|1\.[01])|h[23]c?|h3-[0-9QTu]{1,6}|hq(-[0-9]{1,3})?|spdy/[0-9.]{1,4}|acme-tls/1|dot|doq|mqtt|imap|pop3|ftp|smb"
    rb"|ntske/1|irc|sip/2|co|coap|webrtc|c-webrtc|stun\.(turn|nat-discovery)|xmpp-(client|server)|postgresql"
)
"""Names of application protocols (ALPN) that are registered, or as widely used: they tell of nobody."""


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


GREASE = frozenset(0x0A0A + step * 0x1010 for step in range(16))
"""RFC 8701 values, reserved so that peers stay tolerant."""


def is_tls13(version: int) -> bool:
    """TLS 1.3 or one of its drafts: the Certificate is encrypted."""
    return version in (0x0304, 0xFEFC) or version >> 8 in (0x7F, 0x7E, 0xFB)


RSA_KEY_EXCHANGE = frozenset({
    0x01, 0x02, 0x04, 0x05, 0x07, 0x09, 0x0A, 0x2F, 0x35, 0x3B, 0x3C, 0x3D, 0x41, 0x84, 0x96, 0x9C, 0x9D, 0xBA, 0xC0,
    0xC03C, 0xC03D, 0xC050, 0xC051, 0xC07A, 0xC07B, 0xC09C, 0xC09D, 0xC0A0, 0xC0A1, 0xFEFE, 0xFEFF,
})  # fmt: skip
"""Cipher suites in which the client encrypts the secret to the certificate's key, and the server signs nothing."""

DHE_KEY_EXCHANGE = frozenset({
    0x0C, 0x0D, 0x0F, 0x10, 0x12, 0x13, 0x15, 0x16, 0x32, 0x33, 0x38, 0x39, 0x40, 0x44, 0x45, 0x67, 0x6A, 0x6B, 0x87,
    0x88, 0x99, 0x9A, 0x9E, 0x9F, 0xA2, 0xA3, 0xBD, 0xBE, 0xC3, 0xC4, 0xC09E, 0xC09F, 0xC0A2, 0xC0A3, 0xCCAA, 0xCC15,
})  # fmt: skip
ECDHE_KEY_EXCHANGE = frozenset(
    {*range(0xC006, 0xC00B), *range(0xC010, 0xC015), 0xC023, 0xC024, 0xC027, 0xC028, 0xC02B, 0xC02C, 0xC02F, 0xC030}
    | {0xC048, 0xC049, 0xC04C, 0xC04D, 0xC05C, 0xC05D, 0xC060, 0xC061, 0xC072, 0xC073, 0xC076, 0xC077, 0xC086, 0xC087}
    | {0xC08A, 0xC08B, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF, 0xCCA8, 0xCCA9, 0xCC13, 0xCC14}
)


def key_exchange(suite: int) -> str | None:
    """rsa, dhe or ecdhe (the last two signed by the certificate's key); None for any other."""
    if suite in RSA_KEY_EXCHANGE:
        return "rsa"
    if suite in ECDHE_KEY_EXCHANGE:
        return "ecdhe"
    return "dhe" if suite in DHE_KEY_EXCHANGE else None


CIPHER_SUITES = {
    0x0004: "TLS_RSA_WITH_RC4_128_MD5",
    0x0005: "TLS_RSA_WITH_RC4_128_SHA",
    0x000A: "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0016: "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0x002F: "TLS_RSA_WITH_AES_128_CBC_SHA",
    0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
    0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
    0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
    0x003C: "TLS_RSA_WITH_AES_128_CBC_SHA256",
    0x003D: "TLS_RSA_WITH_AES_256_CBC_SHA256",
    0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
    0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
    0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256",
    0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384",
    0x009E: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    0x009F: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x1304: "TLS_AES_128_CCM_SHA256",
    0x1305: "TLS_AES_128_CCM_8_SHA256",
    0xC007: "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    0xC008: "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
    0xC009: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    0xC00A: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    0xC011: "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    0xC012: "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0xC023: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    0xC024: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    0xC027: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    0xC028: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCAA: "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
"""The suites that servers choose (IANA TLS Cipher Suites)."""


def suite_name(suite: int) -> str:
    """A cipher suite's name; its number where it has none here."""
    return CIPHER_SUITES.get(suite, f"0x{suite:04x}")
