"""The report of a case as one HTML file: no script, nothing from elsewhere, for a screen, a phone and paper.

It is made of the case's JSON document alone, so that it can say nothing that is not in there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from kzpcap.report import charts, words
from kzpcap.report.html import MEANS, SIGNS, almaty, utc
from kzpcap.report.names import NO_TIME, span
from kzpcap.report.text import safe
from kzpcap.report.whom import title
from kzpcap.report.words import STATES
from kzpcap.verdict.identity import is_known, is_product

MAX_DAYS, MAX_TARGETS, MAX_SPANS = 62, 40, 24
STRENGTH = {"intercepted": "intercepted", "doubtful": "neutral", "clean": "clean", "neutral": "neutral"}
"""What an hour or a day is painted as: one clean connection clears nothing of what was suspected beside it."""
ONCE_A_LADDER = "The probes of one ladder count once."
DAY = 86_400.0


def render(document: dict[str, Any], titles: dict[str, str], rules: dict[str, str], made: dict[str, Any]) -> str:
    """The page of a case's document.

    `titles` names the generations of interceptors, `rules` says in words why a rule left something open, and `made`
    tells what the page was made of: custody heads, reference digests, the profile.
    """
    from jinja2 import Environment, FileSystemLoader

    across = document["across"]
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {"utc": utc, "almaty": almaty, "safe_text": _clean, "short": _short, "minute": words.moment}
    environment.globals |= {
        "edge_words": words.edge_words,
        "explanation_words": words.explanation_words,
        "altered": words.altered,
        "count": words.count,
    }
    return environment.get_template("case.html").render(
        d=document,
        a=across,
        made=made,
        states=STATES,
        signs=SIGNS,
        means=MEANS,
        findings=list(findings(document, titles)),
        periods=[(one["is"], words.period_words(one, both_times)) for one in across["timeline"]["periods"]],
        scrubbed=words.scrubbed(document["captures"]) if document["captures"]["scrubbed"] else "",
        figures=dict(figures(across)),
        paths=[path_figure(path) for path in across["paths"]],
        reasons=[(rule, rules.get(rule, ""), count) for rule, count in document["reasons"].items()],
        titles=titles,
        title_of=lambda identity: title(identity, titles),
    )


def _clean(value: object) -> str:
    return safe(str(value)) if value is not None else ""


def _short(digest: str) -> str:
    return digest[:12]


def both_times(stamp: str) -> str:
    """A time to the minute, in UTC and in Almaty."""
    here, there = words.moment(stamp), almaty(stamp)[:16]
    return f"{here} UTC ({there[11:] if there[:10] == here[:10] else there[5:]} in Almaty)"


def findings(document: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    """The findings in sentences, the plainest first."""
    captures, across = document["captures"], document["across"]
    listed = Counter[str]()
    for states in document["targets"].values():
        listed.update(states)
    hit = document["states"].get("intercepted", 0)
    if not hit:
        yield (
            "No connection in this case is shown to be intercepted. What stays undetermined is not “genuine”, and what"
            " nobody recorded is not “off”."
        )
    else:
        were = "was" if hit == 1 else "were"
        yield (
            f"{hit:,} of {words.count(document['connections'], 'connection')} {were} intercepted,"
            f" in {captures['with_interception']:,} of {words.count(captures['judged'], 'capture')};"
            f" {listed['intercepted']:,} of them went to listed names."
        )
    if document["connections_with_published_certificates"]:
        yield f"{words.published(document['connections_with_published_certificates'])}: a replay cannot be excluded."
    if document["connections_counted_once_though_in_several_captures"]:
        count = document["connections_counted_once_though_in_several_captures"]
        yield f"{words.count(count, 'connection')} recorded more than once, and counted once."
    for identity, days in document["interceptors"].items():
        count, when = words.count(sum(days.values()), "connection"), span(days)
        if is_known(identity):
            yield f"By {title(identity, titles)}: a verified signature by its key ({count}, {when})."
        elif identity == "unknown":
            yield f"By whom is not known in {count} ({when})."
        elif is_product(identity):
            yield f"Under names of {title(identity, titles)}, which prove nothing ({count}, {when})."
        else:
            yield f"By {title(identity, titles)} ({count}, {when})."
    if across["mostly"]:
        yield across["mostly"]["says"]
    explained = across["explanations"]["explanations"]
    for one in explained if len(explained) == 1 else ():
        if all(len(group["edges"]) == 1 for group in one["groups"]):
            ways = [
                f"through {words.edge_words(group['edges'][0])}"
                + (", the other way: it may be the same box" if again else "")
                for group, again in words.from_both_sides(one["groups"])
            ]
            which = "this" if len(ways) == 1 else "each"
            yield f"Interception is on a path {', and on one '.join(ways)} (in {which} direction)."
    yield from words.replayed(across["how_sure"])
    off = [one for one in across["timeline"]["periods"] if one["is"] == "off"]
    for one in off[:6]:
        yield f"It {words.period_words(one, both_times)}.".replace("It surely off", "It was surely off")
    if document["states"].get("undetermined"):
        yield f"{document['states']['undetermined']:,} connections could not be judged; the reasons are below."


def figures(across: dict[str, Any]) -> Iterator[tuple[str, charts.Chart]]:
    """The charts by name; one whose data is not there is left out."""
    hours = {one["hour"]: one for one in across["hours"]}
    if not hours:
        return
    days: dict[date, dict[int, str]] = {}
    for stamp, counts in hours.items():
        there = datetime.strptime(almaty(stamp + ":00:00"), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        strongest = _strongest(counts)
        if strongest:
            days.setdefault(there.date(), {})[there.hour] = strongest
    if not days:
        return
    shown = _days(days)
    yield (
        "hours",
        charts.strips(
            "hours",
            [(f"{day:%Y-%m-%d %a}", days.get(day, {})) for day in shown],
            [f"{hour:02d}" for hour in range(24)],
            f"Each day and hour in Almaty from {shown[0]} to {shown[-1]}, by the strongest of its connections to listed"
            f" names{_left_out(days, shown)}. {ONCE_A_LADDER}",
        ),
    )
    by_target = {
        one["name"]: {date.fromisoformat(day): _strongest(counts) for day, counts in one["days"].items()}
        for one in across["days_by_target"]
    }
    shown = _days({day: {} for cells in by_target.values() for day in cells})
    column = {day: number for number, day in enumerate(shown)}
    order = sorted(by_target.items(), key=lambda item: (-sum(v == "intercepted" for v in item[1].values()), item[0]))
    rows = [
        (name, {column[day]: found for day, found in cells.items() if day in column and found})
        for name, cells in order[:MAX_TARGETS]
    ]
    says = f"Each listed name by day (UTC), from {shown[0]} to {shown[-1]}, by the strongest of its connections."
    many_years = shown[0].year != shown[-1].year
    yield (
        "targets",
        charts.strips("targets", rows, [f"{day:%Y-%m-%d}" if many_years else f"{day:%m-%d}" for day in shown], says),
    )
    gantt = list(_spans(across))
    if gantt:
        says = "When it was on and off, and the days on which each issuer was seen to sign for intercepted connections."
        yield "spans", charts.spans("spans", gantt, says)
    series = {what: [0] * 24 for what in ("intercepted", "clean")}
    for one in across["hours"]:
        hour = int(almaty(one["hour"] + ":00:00")[11:13])  # UTC+6 until March 2024, then UTC+5
        for what, counted in series.items():
            counted[hour] += one.get(what, 0)
    if any(map(any, series.values())):
        says = f"Connections to listed names by the hour of the day in Almaty: intercepted, and clean. {ONCE_A_LADDER}"
        yield "clock", charts.bars("clock", [f"{hour:02d}" for hour in range(24)], series, says)


def _strongest(counts: dict[str, Any]) -> str:
    return next((shown for what, shown in STRENGTH.items() if counts.get(what)), "")


def _days(days: dict[date, Any]) -> list[date]:
    """Every day from the first to the last, or, where that is too long, the last ones on which anything was seen."""
    first, last = min(days), max(days)
    if (last - first).days < MAX_DAYS:
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return sorted(days)[-MAX_DAYS:]


def _left_out(days: dict[date, Any], shown: list[date]) -> str:
    if (max(days) - min(days)).days < MAX_DAYS:
        return ""
    more = len(days) - len(shown)
    return "; days on which nothing was recorded are left out" + (f", and {more} earlier days" if more else "")


def _spans(across: dict[str, Any]) -> Iterator[tuple[str, list[tuple[float, float, str]]]]:
    periods = across["timeline"]["periods"]
    kinds = {"on": "intercepted", "off": "clean", "unclear": "neutral"}
    parts: list[tuple[float, float, str]] = []
    for one in periods:
        first, last = _day(one["first"]), _day(one["last"])
        if one["is"] == "off" and one["last_intercepted_before"]:
            parts.append((_day(one["last_intercepted_before"]), first, "unsure"))
        if one["is"] == "off" and one["first_intercepted_after"]:
            parts.append((last, _day(one["first_intercepted_after"]), "unsure"))
        parts.append((first, last, kinds[one["is"]]))
    if parts:
        yield "on and off", parts
    for one in across["interceptors"][:MAX_SPANS]:
        at = [
            date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal() for day in one["days"] if day != NO_TIME
        ]
        yield f"{one['issuer']}", [(float(day), day + 1.0, "intercepted") for day in at]


def _day(stamp: str) -> float:
    moment = datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return moment.timestamp() / DAY


def path_figure(path: dict[str, Any]) -> dict[str, Any]:
    """A path as a figure: the routers in a row, the box on its edge."""
    edges = {(edge["before"], edge["after"]) for edge in path["edges"]}
    hops: list[dict[str, Any]] = []
    last = None
    for hop in path["hops"]:
        address = hop["address"]
        box = address is not None and (last, address) in edges
        hops.append({**hop, "address": safe(address or "not seen"), "network": safe(hop["network"] or ""), "box": box})
        last = address or last
    return {"hops": hops, "ladders": path["ladders"], "seen": path["seen"], "height": 46 * len(hops) + 60}
