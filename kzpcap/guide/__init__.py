"""What a volunteer should record, before any risk is taken: in English, Russian and Kazakh, as plain text."""

from __future__ import annotations

from pathlib import Path

LANGUAGES = ("en", "ru", "kk")
PLATFORMS = ("android", "windows", "macos", "linux", "router")


def guide(language: str = "en", platform: str | None = None) -> str:
    """The guide in one language; with a platform, without the chapters of the others. KeyError for neither."""
    if language not in LANGUAGES:
        raise KeyError(language)
    if platform is not None and platform not in PLATFORMS:
        raise KeyError(platform)
    text = (Path(__file__).parent / f"{language}.md").read_text("utf-8")
    if platform is None:
        return text
    head, *chapters = text.split("\n## ")
    kept = [chapter for chapter in chapters if _platform(chapter) in (None, platform)]
    return "\n## ".join([head, *kept])


def _platform(chapter: str) -> str | None:
    title = chapter.split("\n", 1)[0].strip().lower()
    return title if title in PLATFORMS else None
