"""The charts of a case's report: inline SVG by matplotlib, in the page's own colours, each with its words beside it.

Every outcome has a height of its own beside its colour, so that a chart can be read in grey and by the colour-blind.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kzpcap.report.text import safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "intercepted": ("#010201", "var(--on)"),
    "clean": ("#010202", "var(--off)"),
    "neutral": ("#010203", "var(--neutral)"),
    "ink": ("#010204", "currentColor"),
    "line": ("#010205", "var(--line)"),
    "unsure": ("#010206", "var(--unsure)"),
}
"""What a shape is drawn in for matplotlib, and the page's colour that is put in its place."""
HEIGHTS = {"intercepted": 0.86, "clean": 0.5, "neutral": 0.16}
MAX_LABEL = 34
WIDTH = 8.0
"""Inches of 72 points."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as inline SVG, and what it shows in words."""

    svg: str
    says: str


def strips(name: str, rows: Sequence[tuple[str, dict[int, str]]], columns: Sequence[str], says: str) -> Chart:
    """Rows of cells, each cell the strongest outcome of its column; an absent one is no traffic."""
    figure, axes = _figure(0.24 * len(rows) + 0.55)
    for row, (_, cells) in enumerate(rows):
        for outcome, height in HEIGHTS.items():
            at = [column for column, found in cells.items() if found == outcome]
            bottoms = [row + 0.5 - 0.43] * len(at)
            axes.bar(at, height, width=0.86, bottom=bottoms, color=COLOURS[outcome][0], linewidth=0)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows), 0)
    for patch in axes.patches:  # the axis runs downwards: bars grow upwards from their cell's foot all the same
        patch.set_y(patch.get_y() + 0.86 - patch.get_height())  # type: ignore[attr-defined]
    axes.set_yticks([row + 0.5 for row in range(len(rows))], [_label(label) for label, _ in rows])
    every = max(1, -(-len(columns) * max(map(len, columns)) // 60))
    axes.set_xticks(range(0, len(columns), every), list(columns[::every]))
    axes.set_yticks(range(len(rows) + 1), minor=True)
    axes.grid(which="minor", axis="y", color=COLOURS["line"][0], linewidth=0.4)
    return Chart(_svg(figure, name), says)


def spans(name: str, rows: Sequence[tuple[str, Sequence[tuple[float, float, str]]]], says: str) -> Chart:
    """Rows of (from, to, colour) in days since 1970: on and off, and who signed when."""
    from matplotlib import dates

    figure, axes = _figure(0.3 * len(rows) + 0.6)
    thin = {"unsure": 0.2, "clean": 0.36, "neutral": 0.36}
    for row, (_, parts) in enumerate(rows):
        for begin, end, colour in parts:
            height = thin.get(colour, 0.72)
            axes.barh(row + 0.5, max(end - begin, 1e-9), height, left=begin, color=COLOURS[colour][0], linewidth=0)
    ends = [edge for _, parts in rows for begin, end, _ in parts for edge in (begin, end)]
    least = (max(ends) - min(ends)) / 300 or 0.01
    for patch in axes.patches:
        if patch.get_width() < least:  # type: ignore[attr-defined]
            patch.set_width(least)  # type: ignore[attr-defined]
    axes.set_xlim(min(ends) - 3 * least, max(ends) + 4 * least)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], [_label(label) for label, _ in rows])
    locator: Any = dates.AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.grid(axis="x", color=COLOURS["line"][0], linewidth=0.4)
    return Chart(_svg(figure, name), says)


def bars(name: str, columns: Sequence[str], series: Mapping[str, Sequence[int]], says: str) -> Chart:
    """Counts beside each other for each column."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(1.9)
    for number, (outcome, counts) in enumerate(series.items()):
        at = [column + 0.4 * number - 0.2 for column in range(len(columns))]
        axes.bar(at, counts, width=0.38, color=COLOURS[outcome][0], linewidth=0, hatch="" if number == 0 else "....")
    axes.set_xticks(range(len(columns)), list(columns))
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return Chart(_svg(figure, name), says)


def _label(text: str) -> str:
    """A row's label: cleaned, and short."""
    shown = safe(text).replace('"', "'").replace("#", "")
    return shown if len(shown) <= MAX_LABEL else shown[: MAX_LABEL - 1] + "…"


def _figure(height: float) -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["text.parse_math"] = False  # a dollar in a name is a dollar; read when a text is made
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes: Any = figure.add_subplot()
    ink = COLOURS["ink"][0]
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(COLOURS["line"][0])
    axes.tick_params(colors=ink, labelsize=9, length=0, which="both")
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element to stand in a page: no declaration, ids of its own, the page's colours and letters."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", text)
    for drawn, shown in COLOURS.values():
        text = text.replace(drawn, shown)
    return text.replace("<svg ", '<svg class="chart" aria-hidden="true" focusable="false" ', 1)
