"""Answers that are kept for the next time, and not what was asked with them.

What lru_cache keeps, it keeps with the arguments: a thousand of a hostile capture's may be a hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from itertools import islice
from typing import Any, TypeVar, cast

MAX_KEPT = 4_096
TEXTS = (bytes, str)
Work = TypeVar("Work", bound=Callable[..., Any])


def kept(maxsize: int, longest: int) -> Callable[[Work], Work]:
    """Keep the latest answers to arguments whose bytes and texts, in tuples too, are no longer than `longest`."""

    def decorate(work: Work) -> Work:
        keeping = lru_cache(maxsize=maxsize)(work)

        @wraps(work)
        def ask(*asked: Any) -> Any:
            size = 0
            for one in asked:
                if one.__class__ is bytes or one.__class__ is str:
                    size += len(one)
                elif one.__class__ is tuple:
                    size += sum([len(part) for part in one if isinstance(part, TEXTS)])
            return (keeping if size <= longest else work)(*asked)

        return cast(Work, ask)

    return decorate


def by_digest(maxsize: int) -> Callable[[Work], Work]:
    """Keep the latest answers about certificates, under their digests; the half that came first makes room."""

    def decorate(work: Work) -> Work:
        answers: dict[tuple[str, ...], Any] = {}

        @wraps(work)
        def ask(*certificates: Any) -> Any:
            wanted = tuple([certificate.sha256 for certificate in certificates])
            if wanted in answers:
                return answers[wanted]
            found = work(*certificates)
            if len(answers) >= maxsize:
                for old in list(islice(answers, maxsize // 2)):
                    del answers[old]
            answers[wanted] = found
            return found

        return cast(Work, ask)

    return decorate


def keep(answers: dict[Any, Any], wanted: Any, found: Any) -> None:
    """Keep an answer for the next connection of the same client, server or name; too many are begun anew."""
    if len(answers) >= MAX_KEPT:
        answers.clear()
    answers[wanted] = found
