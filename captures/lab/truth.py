"""What the laboratory did, as `truth.json`: from the journals of the servers, boxes and clients, and the topology.

Nothing here comes from kzpcap. Of each connection: `happened` (what took place on the wire), `interceptor` (who did it),
the chain that was sent and the origin's, and `chain_visible`: can this capture show it. `state` lists the verdicts that
the capture allows, the best first; a chain that TLS 1.3 hides cannot be judged, whoever sent it.

    intercepted     another answered in the server's place, with a certificate of its own making
    other server    another answered, and pretended nothing (a captive portal)
    blocked         something on the path answered, or silenced it
    answered        the server answered
    refused         the server would not
    unanswered      nobody answered the ClientHello
    not connected   the TCP handshake did not end
"""

from __future__ import annotations

from typing import Any

from lab import journal
from lab.scene import Interceptor, Scene

Key = tuple[int, str]
Notes = list[dict[str, Any]]


def truth(scene: Scene, title: str, subject: str, tools: dict[str, str]) -> dict[str, Any]:
    box = scene.box
    return {
        "title": title,
        "capture": "capture" + scene.capture.suffix if scene.capture else None,
        "options": scene.arguments,
        "laboratory": {
            "subject": subject,
            "vantage": scene.vantage,
            "path": scene.hops,
            "silent_hops": [hop for hop in range(1, len(scene.hops) + 1) if scene.network.hosts[f"r{hop}"].silent],
            "server_hops": scene.server_hops,
            "interceptor": box and describe(box),
            "tools": tools,
            **scene.notes,
        },
        "connections": [connection(scene, key, notes) for key, notes in sorted(gathered(scene).items())],
        "ladders": [ladder(scene, known) for known in scene.ladders],
    }


def describe(box: Interceptor) -> dict[str, Any]:
    return {"kind": box.kind, "hop": box.hop, "own_network": box.own_network, **box.details}


def gathered(scene: Scene) -> dict[Key, Notes]:
    """Everything noted of each connection; those that a box made by itself only where its far side was recorded."""
    beyond = scene.vantage in scene.notes.get("beyond_the_box", ())
    ours = {"client", *scene.network.hosts["client"].addresses, scene.notes.get("nat", {}).get("public")}
    found: dict[Key, Notes] = {}
    for line in journal.read():
        if beyond or line["client"][0] in ours:
            found.setdefault((line["client"][1], line["server"][0]), []).append(line)
    if beyond:
        return found
    tried = {port for (port, _), notes in found.items() if pick(notes, "client tried")}

    def belongs(notes: Notes) -> bool:
        if pick(notes, "client tried"):
            return True
        if scene.notes.get("both_legs"):  # a proxy on the client itself: its own connections are on the wire too
            return not pick(notes, "box fetched")
        return not tried and not pick(notes, "box fetched")

    return {key: notes for key, notes in found.items() if belongs(notes)}


def pick(notes: Notes, *what: str) -> dict[str, Any] | None:
    return next((note for note in notes if f"{note['who']} {note['did']}" in what), None)


def connection(scene: Scene, key: Key, notes: Notes) -> dict[str, Any]:
    port, server = key
    tried = pick(notes, "client tried") or {}
    name = next((note["server_name"] for note in notes if note.get("server_name")), None)
    known: dict[str, Any] = {"client_port": port, "server": server, "server_name": name}
    known["tool"] = tried.get("tool") or scene.notes.get("tool_without_journal")
    if pick(notes, "box fetched"):
        known["tool"] = "the box itself"
    if tried.get("connected") is False:
        known["connected"] = False
    if known["tool"] == "ladder":
        known["ttl"] = tried["ttl"]
    happened, answer, who = took_place(scene, server, notes, tried)
    if answer:
        after = pick(notes, "box finished" if pick(notes, "box intercepted") else "origin finished") or {}
        known |= {"version": answer.get("version"), "chain": answer["chain"]}
        known["resumed"] = bool(after.get("resumed", tried.get("resumed")))
        known["finished"] = bool(after.get("finished", "shown" in tried))
    if who:
        known["interceptor"] = describe(who)
        known["origin_chain"] = origin_chain(scene, server, name)
    known["chain_visible"] = visible(scene, known, tried)
    known["happened"] = happened
    if happened == "intercepted" and scene.vantage in scene.notes.get("beyond_the_box", ()):
        # Here the origin's chain is on the wire, sent to the box: nothing forged is to be seen.
        return known | {"chain": known["origin_chain"], "state": genuine(scene, known)}
    return known | expected(scene, known, port, who)


def took_place(
    scene: Scene, server: str, notes: Notes, tried: dict[str, Any]
) -> tuple[str, dict[str, Any] | None, Interceptor | None]:
    """What happened, the answer that the client got, and whose it was where it was not the server's."""
    origin, shown = pick(notes, "origin answered"), tried.get("shown")
    alien = bool(shown) and shown not in scene.chains(server) and not tried.get("resumed")
    if pick(notes, "box intercepted"):
        return "intercepted", pick(notes, "box intercepted"), scene.box
    if alien:
        # The client's own TLS stack was shown another chain than the server sent: something stood between.
        who = scene.local if tried and scene.local else scene.box
        return "other server" if who and who.innocent else "intercepted", {"chain": shown, **tried}, who
    if pick(notes, "blocker blocked"):
        return "blocked", None, scene.box
    if pick(notes, "origin refused"):
        return "refused", None, None
    if origin or shown:  # passed on by a proxy, the origin saw the proxy's address
        return "answered", origin or {"chain": shown, **tried}, None
    return "not connected" if tried.get("connected") is False else "unanswered", None, None


def origin_chain(scene: Scene, server: str, name: str | None) -> list[str] | None:
    """What the server would have sent for this name: its first site's chain where it knows the name not."""
    sites = scene.sites_at(server)
    for site in sites:
        if name in site["names"]:
            return list(site["chain"])
    return list(sites[0]["chain"]) if sites else None


def visible(scene: Scene, known: dict[str, Any], tried: dict[str, Any]) -> bool:
    """Can this capture show the chain? Where the client's own stack tells, what it was shown decides."""
    if "chain" not in known or known["resumed"] or scene.notes.get("cut"):
        return False
    if known["tool"] == "python" and "shown" not in tried and not scene.notes.get("arrives"):
        return False
    return known["version"] not in ("TLSv1.3", None) or bool(scene.notes.get("keys"))


def expected(scene: Scene, known: dict[str, Any], port: int, who: Interceptor | None) -> dict[str, Any]:
    """State, identity and place that the capture allows."""
    nobody = ["nobody", "unknown"]
    state = scene.accept.get(port)
    if known["happened"] in ("intercepted", "other server") and who:
        if known["resumed"]:  # a session that began in sight leads to its certificate
            return {"state": state or ["intercepted"], "identity": ["supplied_ca"] if who.state_ca else nobody}
        if not known["chain_visible"]:
            return {"state": state or ["undetermined"], "identity": nobody}
        place = ["unknown", "beyond_first_public_hop"]
        if who.own_network:
            place = ["volunteer_side", "unknown"]
        elif shown_by_ladder(scene, known):
            place = ["edge"]
        identity = ["supplied_ca"] if who.state_ca else [*who.identity, "nobody"]
        return {
            "state": state or (["intercepted"] if who.state_ca else list(who.accept)),
            "identity": identity,
            "place": place,
        }
    if state:
        return {"state": state}
    if known["happened"] == "blocked":
        return {"state": ["interfered"] if answer_arrives(scene, known) else ["undetermined"]}
    if known["happened"] == "answered" and known["chain_visible"]:
        return {"state": genuine(scene, known)}
    return {"state": ["undetermined"]}


def genuine(scene: Scene, known: dict[str, Any]) -> list[str]:
    """A genuine chain: is it one for the name asked, trusted and in its time?"""
    kind = scene.kinds.get((known["server"], (known["server_name"] or "").lower()), "other name")
    return ["genuine"] if kind == "sound" else ["undetermined"]


def answer_arrives(scene: Scene, known: dict[str, Any]) -> bool:
    """Whether anything came back for a blocked ClientHello: nothing from a drop, nor with a TTL that ran out."""
    box = scene.box
    if box is None or box.kind == "blocker-drop":
        return False
    if box.details.get("initial_ttl") == "copy":
        return "ttl" in known and known["ttl"] - 2 * (box.hop - 1) >= 1
    return True


def shown_by_ladder(scene: Scene, known: dict[str, Any]) -> bool:
    """A ladder in this capture to this server, for this name."""
    return any(
        ladder["server"] == known["server"] and ladder["server_name"] == known["server_name"]
        for ladder in scene.ladders
    )


def ladder(scene: Scene, known: dict[str, Any]) -> dict[str, Any]:
    """Where the box is, by the topology, as far as the probes could show it."""
    box: Interceptor | None = scene.box
    server_hop = scene.server_hops[known["server"]]
    found = {key: known[key] for key in ("server", "server_name", "control_server_name", "shape")}
    found |= {"interceptor_ttl": None, "control_terminating_ttl": server_hop}
    if box and box.hop and known["server_name"] in box.targets:
        terminator = box.kind == "kz-terminate"
        found |= {
            "interceptor_ttl": box.hop,
            "control_terminating_ttl": box.hop if terminator else server_hop,
            "bound": "at_or_beyond" if terminator else "exact",
            "last_clean_hop": router(scene, box.hop - 1),
            # Where the box swallows every probe, no router at its hop answers.
            "first_intercepted_hop": router(scene, box.hop, swallows=terminator),
        }
    elif box and box.kind == "accelerator":
        found["control_terminating_ttl"] = box.hop
    return {**found, **known["expect"]}


def router(scene: Scene, hop: int, swallows: bool = False) -> dict[str, Any] | None:
    if not hop:
        return None
    silent = swallows or scene.network.hosts[f"r{hop}"].silent
    return {"ttl": hop, "address": None if silent else scene.hops[hop - 1]}
