"""What the captures of a case show together, in words: made of the case's JSON document alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kzpcap.report.text import safe, wrap

NOT_EXCLUDED = "not excluded"
"""What is said of another explanation of a claim that no fact excludes."""

LABORATORY = (
    "LABORATORY: trust anchors or interception CAs were given on the command line; "
    "this is no finding about the public network."
)
BY_ISSUER = ("private-root", "issuer-missing", "self-signed")
"""Rules of which a reader asks whose certificates those are."""
STATES = ("intercepted", "suspected", "interfered", "genuine", "undetermined")
"""In the order in which they are told."""
BOUNDS = {"exact": "exact", "at_or_beyond": "or beyond", "at_or_before": "or nearer"}
MAX_EDGES = 12
MAX_PERIODS = 20


def cleaned(value: Any) -> Any:
    """The value with every text made safe to show: a line break in a name is no line of ours."""
    if isinstance(value, dict):
        return {cleaned(key): cleaned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    return safe(value) if isinstance(value, str) else value


def count(number: int, what: str, many: str = "") -> str:
    """A number with its noun; `many` where that has a plural of its own."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def judged_otherwise(captures: int) -> str:
    """That captures of a case count for nothing in what is told, for they were judged under other options."""
    are = "capture is" if captures == 1 else "captures are"
    return (
        f"{captures:,} {are} judged under other options, data or versions alone, and not counted here: run `batch` over"
        f" {'it' if captures == 1 else 'them'} again, as in the last run"
    )


def published(connections: int) -> str:
    """How many connections show a published certificate, and nothing that its key was there."""
    told = count(connections, "intercepted connection")
    return f"{told} with a published certificate, whose key nobody is shown to hold"


def altered(results: int) -> str:
    """How many results are not what custody vouches for."""
    are = "result is" if results == 1 else "results are"
    return f"{results:,} {are} not as custody says, and counted here all the same: `kzpcap case verify` names them"


def scrubbed(captures: dict[str, Any]) -> str:
    """How many captures came scrubbed, and what that had cost, as their manifests tell."""
    came = f"{count(captures['scrubbed'], 'capture')} came scrubbed"
    if not captures["answers_lost"]:
        return f"{came}, with every answer that the original gave"
    hit = captures["scrubbed_with_answers_lost"]
    lost = count(captures["answers_lost"], "answer")
    return f"{came}; {hit:,} of them lost {lost} that the original gave"


def lines(across: dict[str, Any]) -> Iterator[str]:
    """Edges, their explanation, and on and off; at most 80 columns."""
    for part in _lines(cleaned(across)):
        yield from part.split("\n")


def _lines(across: dict[str, Any]) -> Iterator[str]:
    yield from _edges(across)
    yield from _timeline(across["timeline"])
    again = across["leaf_keys_seen_again"]
    if again or across["issuer_keys"]:
        yield ""
        yield "KEYS          in chains of intercepted connections"
        for key in across["issuer_keys"][:8]:
            yield f"  {key['spki_sha256'][:16]}  {key['subjects'][0]}"[:80]
            yield (
                f"    {count(key['connections'], 'connection')}, {count(key['captures'], 'capture')},"
                f" {count(key['vantage_networks'], 'network')}; {key['first'][:10]} to {key['last'][:10]}"
            )
        yield f"  {count(across['leaf_keys'], 'leaf key')}, {len(again):,} of them in several captures or certificates"


def _edges(across: dict[str, Any]) -> Iterator[str]:
    rows = across["edges"]
    if not rows:
        return
    yield ""
    yield "BETWEEN HOPS  by TTL ladders; clean: listed name, trusted origin, box on then"
    yield f"  {'last before':>18} | {'first after':<26}{'ladders':<13}{'intercepted':>11}{'clean':>6}"
    for row in rows[:MAX_EDGES]:
        how = ", ".join(f"{number} {BOUNDS[bound]}" for bound, number in row["ladders"].items())
        yield (
            f"  {row['before']:>18.18} | {row['after']:<26.25}{how:<13.12}{row['intercepted']:>11,}"
            f"{row['clean_eligible']:>6,}"
        )
    if len(rows) > MAX_EDGES:
        yield f"  (+{len(rows) - MAX_EDGES} more: --json has them)"
    networks = {row[end]: row[f"{end}_network"] for row in rows[:MAX_EDGES] for end in ("before", "after")}
    for address, network in sorted(networks.items()):
        if network:
            yield f"    {address}: {network}"[:80]
    if across["as_sources"]:
        yield wrap(f"AS numbers by {', '.join(map(safe, across['as_sources']))}", 4, 6)
    if across["mostly"]:
        yield wrap(across["mostly"]["says"], 2)
    for said in across["disagreements"][:5]:
        yield wrap(said, 2, 4)
    yield from (wrap(said, 2) for said in replayed(across["how_sure"]))
    yield from _explanations(across["explanations"])


def replayed(sure: dict[str, Any]) -> Iterator[str]:
    """How much of what places rest on shows a certificate that anyone can replay; nothing where none does."""
    hits, published = sure["intercepted_on_known_ways"], sure["of_these_with_published_certificates"]
    if published:
        which = "All" if published == hits else f"{published:,} of the {hits:,}"
        verb, show = ("is", "shows") if hits == 1 else ("are", "show")
        yield (
            f"{which} that {verb} intercepted on known ways {show} a published certificate, whose key nobody is shown"
            " to hold: places rest on what anyone can replay."
        )


def _explanations(found: dict[str, Any]) -> Iterator[str]:
    if not found["intercepted"]:
        return
    yield ""
    yield f"EXPLAINED BY  {found['intercepted']:,} intercepted, {found['clean_eligible']:,} clean on known ways"
    for number, one in enumerate(found["explanations"][:5]):
        if number:
            yield "  or, less likely:"
        for place, told in enumerate(explanation_words(one)):
            yield wrap(f"{'and ' if place else ''}{told}", 2, 4)
    if len(found["explanations"]) > 5:
        yield f"  (+{len(found['explanations']) - 5} more: --json has them)"
    for said in found["contradictions"]:
        yield wrap(said, 2, 4)
    if found["neutral"]:
        yield f"  {sum(found['neutral'].values()):,} count neither way:"
        for why, number in list(found["neutral"].items())[:6]:
            yield f"    {number:>7,} {why}"[:80]


def explanation_words(one: dict[str, Any]) -> Iterator[str]:
    """The groups of an explanation, one sentence each; an edge told before from its other side may be the same box."""
    for group, again in from_both_sides(one["groups"]):
        yield _group_words(group, again)


def from_both_sides(groups: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each group, and whether it is one edge between the routers of an earlier one, crossed the other way."""
    told = set[tuple[str, str]]()
    for group in groups:
        edges = [(edge["before"], edge["after"]) for edge in group["edges"]]
        yield group, len(edges) == 1 and edges[0][::-1] in told
        told.update(edges if len(edges) == 1 else ())


def _group_words(group: dict[str, Any], again: bool) -> str:
    """One group of an explanation: a single edge, or several that cannot be told apart."""
    edges = [edge_words(edge) for edge in group["edges"]]
    where = f"a box on a path through {edges[0]}" + (", the other way: it may be the same one" if again else "")
    if len(edges) > 1:
        where = f"a box on one of {len(edges)} edges that cannot be told apart: {'; '.join(edges[:6])}"
        where += f" (+{len(edges) - 6} more)" if len(edges) > 6 else ""
    return (
        f"{where}: {group['intercepted']:,} intercepted, {group['clean_eligible']:,} passed while it was on"
        f" (miss rate {group['miss_rate']:.2f})"
    )


def edge_words(edge: dict[str, Any]) -> str:
    """An edge in a sentence."""
    silent = edge["routers_not_seen_between"]
    between = f" ({silent} router{'' if silent == 1 else 's'} between them not seen)" if silent else ""
    return f"{ends(edge['before'], edge['after'])}{between}"


def ends(before: str, after: str) -> str:
    """The routers of an edge, behind "through"; told as networks, both may be in one."""
    return f"routers in {before}" if before == after else f"{before} and {after}"


def _timeline(when: dict[str, Any]) -> Iterator[str]:
    if not when["periods"]:
        return
    yield ""
    share = f"{100 * when['share_intercepted_while_on']:.0f} %"
    yield f"ON AND OFF    UTC; of {count(when['eligible'], 'minute')} on a way, {share} show it while on"
    for one in when["periods"][:MAX_PERIODS]:
        yield wrap(f"{one['is']:<9}{period_words(one)}", 2, 11)
    if len(when["periods"]) > MAX_PERIODS:
        yield f"  (+{len(when['periods']) - MAX_PERIODS} more: --json has them)"
    if when["gaps"]:
        yield f"  {len(when['gaps']):,} silences of three hours or more: nobody looked; that is not 'off'"


def moment(stamp: str) -> str:
    """A time to the minute, for a sentence."""
    return stamp[:16].replace("T", " ")


def period_words(one: dict[str, Any], told: Callable[[str], str] = moment) -> str:
    """A period in words, each change between two observations; `told` gives a time as the reader sees it."""
    first, last = told(one["first"]), told(one["last"])
    if one["is"] == "on":
        return f"{first} to {last}: {one['intercepted']:,} intercepted, {one['clean_eligible']:,} clean"
    if one["is"] == "unclear":
        return f"{first} to {last}: {one['clean_eligible']:,} clean, too few to call it off"
    before, after = one["last_intercepted_before"], one["first_intercepted_after"]
    went = f"went off between {told(before)} and {first}" if before else f"surely off from {first}"
    back = f"on again between {last} and {told(after)}" if after else f"not seen on again, surely until {last}"
    return f"{went}; {back}: {one['clean_eligible']:,} clean on {count(one['ways'], 'way')}"


def claim_lines(dossier: dict[str, Any]) -> Iterator[str]:
    """The claims for the terminal, each with its conditions and alternatives; at most 80 columns."""
    for part in _claim_lines(cleaned(dossier)):
        yield from part.split("\n")


def _claim_lines(dossier: dict[str, Any]) -> Iterator[str]:
    days = dossier["vantage_days"]
    low, high = days["share_interval_95"]
    again = dossier["connections_counted_once_though_in_several_captures"]
    if again:
        yield wrap(f"{count(again, 'connection')} in a capture of the same packets count once.", 0)
    alike = dossier["connections_counted_once_since_they_may_be_the_same"]
    if alike:
        what = "is so like one" if alike == 1 else "are so like some"
        yield wrap(
            f"{count(alike, 'connection')} {what} of another capture, in the same minute, that a second machine may"
            " have recorded the same: here these count once.",
            0,
        )
    if days["eligible"]:
        yield wrap(
            f"{days['with_interception']:,} of {days['eligible']:,} vantage-days (what one network saw on one day) with"
            f" connections that could be intercepted show interception; 95 % interval {low:.2f} to {high:.2f}."
            " Volunteers are not a sample.",
            0,
        )
    else:
        yield wrap(
            "No vantage-day counts: nothing here is a connection with a listed name, at a known time, that was judged"
            " intercepted, or shown to have got through from a known network.",
            0,
        )
    if dossier["results_not_as_custody_says"]:
        yield wrap(f"NOT VOUCHED FOR: {altered(dossier['results_not_as_custody_says'])}.", 0)
    if dossier["laboratory"]:
        yield "LABORATORY: trust anchors or interception CAs were given on the command line."
    if dossier["captures_judged_otherwise"]:
        yield wrap(f"{judged_otherwise(dossier['captures_judged_otherwise'])}.", 0)
    if not dossier["claims"]:
        yield ""
        yield "No claim: nothing in what is counted here is shown to be intercepted."
    for claim in dossier["claims"]:
        support = claim["support"]
        yield ""
        yield wrap(f"{claim['level'].upper()}: {claim['says']}.", 0, 2)
        yield wrap(
            f"{count(support['connections'], 'connection')}, {count(support['vantage_days'], 'vantage-day')},"
            f" {count(support['captures'], 'capture')}; scope: {claim['scope']}; AS of clients:"
            f" {', '.join(f'AS{asn}' for asn in support['client_as']) or 'not known'}",
            2,
        )
        for one in claim["conditions"]:
            yield wrap(f"{'+' if one['met'] else '-'} {one['condition']}", 4, 6)
        open_ones = [one["alternative"] for one in claim["alternatives"] if one["excluded_by"] == NOT_EXCLUDED]
        if open_ones:
            yield "  what else it could be"
        for one in open_ones:
            yield wrap(one, 4, 6)
        yield "  what it is not"
        for one in claim["alternatives"]:
            if one["excluded_by"] != NOT_EXCLUDED:
                yield wrap(f"{one['alternative']}: {one['excluded_by']}", 4, 6)


def second_lines(judged: list[dict[str, Any]]) -> Iterator[str]:
    """What a case says beside its captures, connection by connection, for the terminal."""
    if not judged:
        yield "The case says of no connection more than its capture does."
    for one in cleaned(judged):
        own, now = one["of_the_capture"], one["of_the_case"]
        yield f"{one['capture'][:12]} frame {one['frame']}  {one['server_name'] or '(no name)'}"[:80]
        yield f"  {own['state']} by itself ({own['rule_id']})"[:80]
        yield f"  {now['state']} by the case ({now['rule_id']})"[:80]
        for why in one["why"]:
            yield from wrap(f"+ {why}", 4, 6).split("\n")
        if one["beside"]:
            beside = one["beside"]
            yield f"    beside {beside['capture'][:12]} frame {beside['frame']}"
