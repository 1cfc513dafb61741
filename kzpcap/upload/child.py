"""The child process: scrub one capture into a folder, in a cage (cage.py).

`python -m kzpcap.upload.child CAPTURE FOLDER SETTINGS` writes scrubbed.pcapng, manifest.json, report.json, report.html
and result.json into FOLDER, and original.age where the settings say for whom originals are kept; exit status 0, 3 where
it is no capture, 4 where nothing in it is evidence, 5 where the result would leak, 6 where the disk is full, 7 where an
archive holds several captures, 8 where what stays is for the volunteer to decide.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from kzpcap.upload import cage

EXIT_NOT_A_CAPTURE, EXIT_NO_EVIDENCE, EXIT_LEAK, EXIT_NO_ROOM, EXIT_SEVERAL, EXIT_UNDECIDED = 3, 4, 5, 6, 7, 8
EXIT_UNLIKE, EXIT_UNREAD = 9, 10
"""What was made says more than the original does."""


def wants_room(error: BaseException | None) -> bool:
    """Is it, or was it raised for, a disk that is full? What exceeds the limits of the child itself is not that."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def main(arguments: list[str]) -> int:
    """See above."""
    try:
        return _main(arguments)
    except OSError as error:
        if wants_room(error):
            return EXIT_NO_ROOM
        raise


def _main(arguments: list[str]) -> int:
    capture, folder, settings = Path(arguments[0]), Path(arguments[1]), json.loads(arguments[2])
    cage.die_with(settings["parent"])
    os.nice(10)  # pages come first
    os.umask(0o077)
    os.environ["TMPDIR"] = str(folder)  # unpacked bytes are unscrubbed bytes: they lie beside the upload, unnamed
    cage.limit(settings["memory"], settings["seconds"])
    cage.leave_network()
    roots, cas = ([Path(one) for one in settings[key]] for key in ("roots", "cas"))
    cage.keep_to(folder, [capture, *roots, *cas])
    from kzpcap import reference
    from kzpcap.analysis import analyze
    from kzpcap.errors import CaptureError, SeveralCaptures
    from kzpcap.report import html
    from kzpcap.report import json as report_json
    from kzpcap.report.document import Document
    from kzpcap.report.names import replayable
    from kzpcap.report.whom import title
    from kzpcap.scrub.choose import Choices
    from kzpcap.scrub.work import doubtful_issuers, scrub
    from kzpcap.verdict.identity import SUPPLIED, is_known

    known = reference.load(None, None, roots, cas)
    try:
        scrubbed = scrub(str(capture), known, Choices())
    except SeveralCaptures:
        return EXIT_SEVERAL
    except CaptureError as error:
        return EXIT_NO_ROOM if wants_room(error.__cause__) else EXIT_NOT_A_CAPTURE
    with scrubbed.output:
        if scrubbed.proof.leaks:
            return EXIT_LEAK
        if scrubbed.proof.wrong:
            return EXIT_UNLIKE
        result: dict[str, Any] = {"advice": scrubbed.advice, "undecided": len(scrubbed.chosen.undecided)}
        if not scrubbed.written.frames:
            (folder / "result.json").write_text(json.dumps(result))
            if scrubbed.chosen.undecided:
                return EXIT_UNDECIDED
            return EXIT_UNREAD if scrubbed.unread else EXIT_NO_EVIDENCE
        path = folder / "scrubbed.pcapng"
        with path.open("xb") as out:
            while block := scrubbed.output.read(1 << 20):
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
    (folder / "manifest.json").write_text(json.dumps(scrubbed.manifest, ensure_ascii=False, indent=1))
    report = analyze(str(path), known)
    try:
        place = folder / "report.json"
        with place.open("w", encoding="utf-8") as file:
            summary = report_json.write(report, file.write)
        with place.open("rb") as made:
            page = html.render(report, Document(made), "What a volunteer sent, scrubbed")
            told = Document(made).connections()
            published = sum(one["state"] == "intercepted" and replayable(one) for one in told)
        (folder / "report.html").write_text(page, "utf-8")
    finally:
        report.close()
    result |= {
        "states": dict(summary.states),
        "target_states": dict(summary.target_states),
        "hidden": summary.rules["certificate-encrypted"],
        "by": sorted({title(one, known.titles) for one in summary.identities if one == SUPPLIED or is_known(one)}),
        "published": published,
        "ladders": Counter(ladder.bound or "none" for ladder in report.ladders),
        "names": sorted(scrubbed.made.names)[:50],
        "issuers": doubtful_issuers(scrubbed)[:8],
        "losses": len(scrubbed.proof.unexpected),
        "size": scrubbed.size,
    }
    if settings["originals_to"]:
        _keep(capture, folder / "original.age", settings["originals_to"])
    (folder / "result.json").write_text(json.dumps(result, ensure_ascii=False))
    return 0


def _keep(capture: Path, place: Path, recipient: str) -> None:
    """The original, for one reader whose key is not on this machine."""
    from kzpcap.sealing import recipients, seal

    with capture.open("rb") as body, place.open("xb") as out:
        seal(body, out, recipients([recipient]))
        out.flush()
        os.fsync(out.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
