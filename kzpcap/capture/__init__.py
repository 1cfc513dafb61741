"""Captures: containers, link layers, the scanner. `source.open_source` is the door."""
