"""Settings of the service: defaults that suit a small machine, and a TOML file in their place."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from kzpcap.errors import KzpcapError, WitnessMissing
from kzpcap.sealing import SealError, recipients


class ConfigError(KzpcapError):
    """A setting that is unknown, or of the wrong kind."""


@dataclass(frozen=True)
class Config:
    """All settings; sizes in bytes, times in seconds unless said."""

    host: str = "127.0.0.1"
    port: int = 8317
    max_file: int = 512 << 20
    """Of one upload; long Tor sessions break, and draw attention."""
    max_day: int = 20 << 30
    """Of all uploads of a day."""
    max_kept: int = 50 << 30
    """Of the data folder."""
    min_free: int = 1 << 30
    """Room on the disk below which nothing is accepted."""
    max_uploads: int = 64
    """At once; the next one is asked to come back."""
    max_analyses: int = 1
    analysis_seconds: int = 600
    analysis_memory: int = 2 << 30
    incoming_hours: int = 24
    """How long an upload may lie unfinished."""
    kept_days: int = 365
    receipt_days: int = 90
    """How long a volunteer can look, and delete."""
    idle_seconds: int = 120
    """An upload that sends nothing for so long is cut off; it can be resumed."""
    head_seconds: int = 30
    """A connection whose request has not begun whole after so long is ended."""
    age_recipient: str = ""
    """Of the researcher: what `kzpcap upload` sends is encrypted to it, and the server cannot open it."""
    keep_originals: bool = False
    """Keep what came unscrubbed, sealed for `age_recipient`, whose key must not be here; the page says so."""
    tls_certificate: str = ""
    """A PEM file: the service ends TLS itself, and looks who opened it (door.py). Empty: whoever is in front does."""
    tls_key: str = ""
    onion: str = ""
    """The address of the onion service, told on the clearnet page."""
    trusted_roots: tuple[str, ...] = ()
    """Further trust anchors, for a laboratory's service."""
    interception_cas: tuple[str, ...] = ()


def load(path: Path | None) -> Config:
    """The settings of a TOML file over the defaults; ConfigError names what is wrong."""
    if path is None:
        return Config()
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    known = {entry.name: entry for entry in fields(Config)}
    values: dict[str, object] = {}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"{path}: no setting {name!r} ({', '.join(known)})")
        wanted = type(getattr(Config, name, ""))
        if wanted is tuple and isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = tuple(value)
        if type(value) is not wanted:
            raise ConfigError(f"{path}: {name} wants {wanted.__name__}, not {value!r}")
        if isinstance(value, int) and value < 0:
            raise ConfigError(f"{path}: {name} cannot be {value}")
        values[name] = value
    made = Config(**values)  # type: ignore[arg-type]
    if made.keep_originals and not made.age_recipient:
        raise ConfigError(f"{path}: keep_originals wants age_recipient: originals are kept sealed or not at all")
    if made.receipt_days > made.kept_days:
        raise ConfigError(f"{path}: receipt_days: nothing is there to be deleted after kept_days ({made.kept_days})")
    if bool(made.tls_certificate) != bool(made.tls_key):
        raise ConfigError(f"{path}: tls_certificate and tls_key go together")
    if made.age_recipient:
        try:
            recipients([made.age_recipient])
        except (SealError, WitnessMissing) as error:
            raise ConfigError(f"{path}: age_recipient: {error}") from error
    return made
