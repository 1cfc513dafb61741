"""Build the captures of this folder: `python captures/make.py [NAME...]`.

Every connection is written packet by packet with dpkt. Handshakes are those of OpenSSL (Python's ssl over memory
buffers) under throw-away CAs, or, where a published certificate is shown, put together message by message. Truth
is written from what was built, never from what kzpcap says of it. Addresses are those for documentation (RFC 5737).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import catalogue
from recipes import authorities, blocking, handshakes, interception, ladders, quic

HERE = Path(__file__).parent

CAPTURES = {
    "kz-2019-rcku": interception.kz_2019_rcku,
    "kz-2019-rcku-genuine": interception.kz_2019_rcku_genuine,
    "replayed-chain": interception.replayed_chain,
    "lab-interception": interception.lab_interception,
    "names-without-the-key": interception.names_without_the_key,
    "tls13-encrypted": handshakes.tls13_encrypted,
    "hidden-interception": handshakes.hidden_interception,
    "resumed-session": handshakes.resumed_session,
    "reset-after-client-hello": blocking.reset_after_client_hello,
    "mid-connection": handshakes.mid_connection,
    "untrusted-kinds": handshakes.untrusted_kinds,
    "block-page": blocking.block_page,
    "silent-beside-controls": blocking.silent_beside_controls,
    "quic-then-tcp": quic.quic_then_tcp,
    "quic-with-keys": quic.quic_with_keys,
    "missing-pieces": handshakes.missing_pieces,
    "products-and-strangers": authorities.products_and_strangers,
    "other-authorities": authorities.other_authorities,
    "tricks": handshakes.tricks,
    "resigned-copy": authorities.resigned_copy,
    "kz-2019-ladder": ladders.kz_2019_ladder,
    "kz-2019-ladder-from-outside": ladders.kz_2019_ladder_from_outside,
    "kz-2019-ladder-one-connection": ladders.kz_2019_ladder_one_connection,
    "clean-ladder": ladders.clean_ladder,
}


def main(names: list[str]) -> None:
    for name in names or CAPTURES:
        built = CAPTURES[name]()
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        built.capture.write(folder / "capture.pcapng")
        truth = {
            "title": built.title,
            "options": built.options,
            "connections": built.connections,
            "ladders": built.ladders,
        }
        (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
        for file, content in built.files.items():
            (folder / file).write_bytes(content)
        made = "Built by `python captures/make.py " + name + "`. Nothing in it was scrubbed: nobody's traffic is in it."
        (folder / "README.md").write_text(f"# {built.title}\n\n{built.text}\n\n{made}\n")
        print(f"{name:28} {len(built.capture.packets):4} packets, {len(built.connections)} connections")
    catalogue.write()


if __name__ == "__main__":
    main(sys.argv[1:])
