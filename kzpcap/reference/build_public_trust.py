"""Rebuild data/public_trust from certifi's releases.

    for v in ...; do pip download --no-deps -d releases/$v certifi==$v; done
    python -m kzpcap.reference.build_public_trust releases

`releases` holds one folder a release with its wheel or source archive. Each root is written once, with the runs of
releases in which it was. A release's date is its version number (14.5.14 is 2014-05-14).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

from kzpcap.certificates.certificate import parse

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def bundle(folder: Path) -> bytes:
    """cacert.pem out of the wheel or source archive in a folder."""
    for archive in sorted(folder.iterdir()):
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read("certifi/cacert.pem")
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as source:
                for member in source:
                    if member.name.endswith("certifi/cacert.pem"):
                        found = source.extractfile(member)
                        if found:
                            return found.read()
    raise SystemExit(f"no cacert.pem in {folder}")


def release_date(version: str) -> str | None:
    """The date in a version number; None for the first releases, which were not dated."""
    parts = [int(part) for part in version.split(".")]
    if parts[0] < 14:
        return None
    return f"{parts[0] + (2000 if parts[0] < 2000 else 0):04d}-{parts[1]:02d}-{parts[2]:02d}"


def main(folder: Path, out: Path) -> None:
    """Read every release and write roots.pem and releases.json."""
    dated = [
        (date, path.name, path) for path in folder.iterdir() if path.is_dir() and (date := release_date(path.name))
    ]
    releases = []
    members: dict[str, list[list[int]]] = {}
    ders: dict[str, bytes] = {}
    for index, (date, version, path) in enumerate(sorted(dated)):
        pem = bundle(path)
        releases.append({"release": version, "date": date, "sha256": hashlib.sha256(pem).hexdigest()})
        for block in PEM.findall(pem):
            der = base64.b64decode(block)
            name = hashlib.sha256(der).hexdigest()
            ders[name] = der
            runs = members.setdefault(name, [])
            if runs and runs[-1][1] == index - 1:
                runs[-1][1] = index
            elif not runs or runs[-1][1] != index:
                runs.append([index, index])
    roots = []
    text = []
    for name in sorted(ders):
        certificate = parse(ders[name])
        roots.append(
            {
                "sha256": name,
                "subject": certificate.subject,
                "spki_sha256": certificate.spki_sha256,
                "in": members[name],
            }
        )
        body = base64.encodebytes(ders[name]).decode().replace("\n", "")
        lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
        text.append(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    (out / "roots.pem").write_text("".join(text))
    document = {
        "what": "Roots of the certifi bundle (derived from Mozilla's); `in` lists runs of releases by index.",
        "source": "certifi on the Python package index, cacert.pem of each release; MPL-2.0",
        "releases": releases,
        "roots": roots,
    }
    (out / "releases.json").write_text(json.dumps(document, indent=0, ensure_ascii=False) + "\n")
    print(f"{len(releases)} releases, {len(roots)} roots")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(__file__).parent / "data" / "public_trust")
