"""Files sealed for one reader: age (age-encryption.org/v1). The only user of pyrage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

from kzpcap.errors import KzpcapError, WitnessMissing

MAGIC = b"age-encryption.org/v1"
ARMOUR = b"-----BEGIN AGE ENCRYPTED FILE-----"
MAX_IDENTITIES = 64 << 10


class SealError(KzpcapError):
    """No recipient, no identity, or a file that this identity does not open."""


def recipients(given: Iterable[str]) -> list[object]:
    """The age recipients (`age1...`) as pyrage has them; SealError names one that is none, WitnessMissing the lack."""
    try:
        from pyrage import RecipientError, x25519
    except ImportError:
        raise WitnessMissing("age encryption needs pyrage: pip install 'kzpcap[volunteers]'") from None
    found: list[object] = []
    for text in given:
        try:
            found.append(x25519.Recipient.from_str(text.strip()))
        except RecipientError as error:
            raise SealError(f"not an age recipient (age1...): {error}") from None
    return found


def identities(path: Path) -> list[object]:
    """The secret keys of an identity file, as `age-keygen` writes it: one a line, `#` begins a comment.

    SealError where it has none or cannot be read; no message ever quotes a line of it.
    """
    try:
        from pyrage import IdentityError, x25519
    except ImportError:
        raise WitnessMissing("age encryption needs pyrage: pip install 'kzpcap[volunteers]'") from None
    try:
        if path.stat().st_size > MAX_IDENTITIES:
            raise SealError(f"{path}: too long to be an age identity file")
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError as error:
        raise SealError(f"{path}: {error.strerror}") from None
    found: list[object] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(x25519.Identity.from_str(line.strip()))
        except IdentityError:
            raise SealError(f"{path}, line {number}: not an age identity (AGE-SECRET-KEY-1...)") from None
    if not found:
        raise SealError(f"{path}: no age identity in it")
    return found


def seal(body: IO[bytes], out: IO[bytes], to: list[object]) -> None:
    """Encrypt all of `body` to `out`, for these recipients alone."""
    from pyrage import encrypt_io

    body.seek(0)
    encrypt_io(body, out, to)


def unseal(body: IO[bytes], out: IO[bytes], keys: list[object]) -> None:
    """Decrypt all of `body` to `out`; SealError where no key opens it, or where it is cut off or altered.

    age authenticates piece by piece: after a SealError, `out` may hold a beginning, which is to be thrown away.
    """
    from pyrage import DecryptError, decrypt_io

    body.seek(0)
    try:
        decrypt_io(body, out, keys)
    except DecryptError as error:
        raise SealError(str(error)) from None
    except OSError as error:
        if error.errno is not None:  # the disk's, not the file's
            raise
        raise SealError(str(error)) from None


def is_armoured(path: Path) -> bool:
    """Does a file begin as one of age's in ASCII armour, which nothing here opens?"""
    with path.open("rb") as file:
        return file.read(len(ARMOUR)) == ARMOUR


def is_sealed(path: Path) -> bool:
    """Does a file begin as an age file does?"""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
