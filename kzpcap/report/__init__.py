"""The words: JSON (the product), the terminal, flat handshakes."""
