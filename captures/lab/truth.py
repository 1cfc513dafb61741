"""What the laboratory did, as `truth.json`: from the journals of the servers, boxes and clients, and the topology.

Nothing here comes from kzpcap. `happened` is what took place on the wire. `state` lists the verdicts that this
capture allows, the best first: a chain that TLS 1.3 hides cannot be judged, whoever sent it.
"""

from __future__ import annotations

from typing import Any

from lab import journal
from lab.scene import TARGETS, Interceptor, Scene

Key = tuple[int, str]


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
            "interceptor": box and {"kind": box.kind, "hop": box.hop, "own_network": box.own_network, **box.details},
            "tools": tools,
            **scene.notes,
        },
        "connections": [connection(scene, key, notes) for key, notes in sorted(gathered(scene).items())],
        "ladders": [ladder(scene, known) for known in scene.ladders],
    }


def gathered(scene: Scene) -> dict[Key, list[dict[str, Any]]]:
    """Everything noted of each connection; those that a box made by itself only where its far side was recorded."""
    beyond = scene.vantage in scene.notes.get("beyond_the_box", ())
    ours = {"client", *scene.network.hosts["client"].addresses, scene.notes.get("nat", {}).get("public")}
    found: dict[Key, list[dict[str, Any]]] = {}
    for line in journal.read():
        if beyond or line["client"][0] in ours:
            found.setdefault((line["client"][1], line["server"][0]), []).append(line)
    if beyond:
        return found
    tried = {port for (port, _), notes in found.items() if pick(notes, "client tried")}
    return {
        (port, server): notes
        for (port, server), notes in found.items()
        # Not what a box fetched in the client's name, nor a server reached under another address (DNAT).
        if pick(notes, "client tried")
        or (scene.notes.get("both_legs") and pick(notes, "box intercepted"))
        or (not tried and not pick(notes, "box fetched"))
    }


def pick(notes: list[dict[str, Any]], *what: str) -> dict[str, Any] | None:
    return next((note for note in notes if f"{note['who']} {note['did']}" in what), None)


def connection(scene: Scene, key: Key, notes: list[dict[str, Any]]) -> dict[str, Any]:
    port, server = key
    tried, origin = pick(notes, "client tried"), pick(notes, "origin answered", "origin refused")
    seized, blocked = pick(notes, "box intercepted"), pick(notes, "blocker blocked")
    name = next((note["server_name"] for note in notes if "server_name" in note), None)
    known: dict[str, Any] = {"client_port": port, "server": server, "server_name": name}
    known["tool"] = tried["tool"] if tried else scene.notes.get("tool_without_journal")
    shown = (tried or {}).get("shown")
    if tried and known["tool"] == "ladder":
        known["ttl"] = tried["ttl"]
    answer: dict[str, Any] | None = None
    if seized:
        happened, answer = "intercepted", seized
    elif shown and tried and shown in scene.chains(server) and not origin:
        # Passed on by a proxy: the origin saw the proxy's address.
        happened, answer = "answered", {"chain": shown, "version": tried["version"], "resumed": tried["resumed"]}
    elif shown and tried and shown not in scene.chains(server) and not tried.get("resumed"):
        # The client's own TLS stack was shown another chain than the server sent: something stood between.
        happened = "intercepted"
        answer = {"chain": shown, "version": tried.get("version"), "resumed": False}
    elif blocked:
        happened = "blocked"
    elif origin and origin["did"] == "refused":
        happened = "refused"
    elif origin:
        happened, answer = "answered", origin
    else:
        happened = "unanswered"
    if answer:
        known |= {"version": answer.get("version"), "resumed": bool(answer.get("resumed")), "chain": answer["chain"]}
        known["finished"] = answer.get("finished", True)
        if happened == "intercepted":
            known["origin_chain"] = answer.get("origin_chain") or (origin or {}).get("chain")
    known["chain_visible"] = visible(scene, port, answer)
    known["happened"] = happened
    if happened == "intercepted" and scene.vantage in scene.notes.get("beyond_the_box", ()):
        # Here the origin's chain is on the wire, sent to the box: nothing forged is to be seen.
        known |= {"chain": (origin or {}).get("chain"), "state": ["genuine", "undetermined", "suspected"]}
        return known
    return known | expected(scene, known, port)


def visible(scene: Scene, port: int, answer: dict[str, Any] | None) -> bool:
    if answer is None or answer.get("resumed") or port in scene.hidden or scene.notes.get("cut"):
        return False
    return answer.get("version") != "TLSv1.3" or bool(scene.notes.get("keys"))


def expected(scene: Scene, known: dict[str, Any], port: int) -> dict[str, Any]:
    """State, identity and place that the capture allows."""
    box, happened, name = scene.box, known["happened"], known["server_name"]
    place = ["unknown", "beyond_first_public_hop"]
    if happened == "intercepted" and box:
        if port in scene.accept:
            return {"state": scene.accept[port]}
        who = ["supplied_ca"] if box.state_ca else list(box.identity)
        if not known.get("chain_visible"):
            resumed = ["intercepted"] if known.get("resumed") else []
            return {"state": [*resumed, "undetermined", "suspected"], "identity": [*who, "nobody", "unknown"]}
        if box.own_network:
            place = ["volunteer_side", "unknown"]
        elif shown_by_ladder(scene, known):
            place = ["edge"]
        return {"state": ["intercepted"] if box.state_ca else list(box.accept), "identity": who, "place": place}
    if port in scene.accept:
        return {"state": scene.accept[port]}
    if happened == "blocked":
        return {"state": ["interfered"] if answer_arrives(scene, known) else ["undetermined"]}
    if happened == "answered" and known["chain_visible"]:
        kind = scene.kinds.get((known["server"], (name or "").lower()), "other name")
        return {"state": ["genuine"] if kind == "sound" else ["undetermined"]}
    return {"state": ["undetermined"]}


def answer_arrives(scene: Scene, known: dict[str, Any]) -> bool:
    """Whether anything came back for a blocked probe: not from a drop, nor with a copied TTL that ran out on the way."""
    box, ttl = scene.box, known.get("ttl")
    if box is None or ttl is None or box.hop is None:
        return True
    if box.details.get("initial_ttl") == "copy":
        return ttl - 2 * (box.hop - 1) >= 1
    return box.kind != "blocker-drop"


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
    if box and box.hop and known["server_name"] in TARGETS and box.kind != "accelerator":
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
