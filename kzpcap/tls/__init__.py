"""Handshakes over TCP, QUIC and DTLS. `handshake.read` is the door."""
