"""A picture of the headline figures: an SVG with one group of bars for each case."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench.case import METRICS
from bench.server import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.report import Measured

WIDTH, BAR, GAP, LEFT, RIGHT = 860, 16, 34, 170, 130
STYLE = (
    "text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.ours{fill:#1f77b4}.peer{fill:#b9bec5}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.peer{fill:#6b7280}}"
)


def svg(all_measured: Iterable[Measured]) -> str:
    """Return the picture; in each group the longest bar is the largest figure."""
    parts: list[str] = []
    y = 10
    for measured in all_measured:
        metric = METRICS[measured.case.headline]
        found = {
            name: value * metric.factor
            for name in measured.case.servers
            if (value := measured.summary(name).median(measured.case.headline)) is not None
        }
        if not found:
            continue
        better = "more is better" if metric.more_is_better else "less is better"
        y += 18
        title = escape(f"{measured.case.title}: {metric.title}, {metric.unit} ({better})")
        parts.append(f'<text class="title" x="10" y="{y}">{title}</text>')
        y += 8
        for name, value in found.items():
            width = (WIDTH - LEFT - RIGHT) * value / (max(found.values()) or 1)
            kind = "ours" if SERVERS[name].package == "appserver" else "peer"
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
                f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 3}"/>'
                f'<text x="{LEFT + width + 6:.1f}" y="{y + 12}">{value:,.4g}</text>'
            )
            y += BAR
        y += GAP - 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}">'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )
