"""Curves side by side as SVG: accuracy over the size of the set, one small panel for each row."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

COLUMNS = 5
WIDTH, HEIGHT = 900, 150
"""Of the picture, and of one row of panels."""
LEFT, RIGHT, HEAD, FOOT = 44, 10, 56, 30
GAP, TITLE = 14, 30
OURS, PAPERS, REFERENCE = "#268270", "#c98a1b", "#9aa2b1"


@dataclass(frozen=True)
class Curve:
    """Accuracies in per cent by the share of the training set in per cent.

    Attributes:
        ours: mean and standard deviation.
        paper: the published ones, where there are.
    """

    name: str
    ours: Mapping[float, tuple[float, float]]
    paper: Mapping[float, float] = field(default_factory=dict)

    def ahead_of(self, other: "Curve") -> float:
        """Points of accuracy ahead, a mean over the sizes that both were measured at."""
        both = self.ours.keys() & other.ours.keys()
        return math.fsum(self.ours[x][0] - other.ours[x][0] for x in both) / max(len(both), 1)


def panels_svg(curves: Sequence[Curve], reference: Curve, title: str) -> str:
    """The chart: the curve furthest ahead of the reference, which every panel repeats, is first."""
    ordered = sorted(curves, key=lambda curve: -curve.ahead_of(reference))
    return "\n".join(_Panels(ordered, reference, title).lines()) + "\n"


class _Panels:
    def __init__(self, curves: Sequence[Curve], reference: Curve, title: str) -> None:
        self.curves, self.reference, self.title = curves, reference, title
        everything = [*curves, reference]
        self.sizes = sorted({size for curve in everything for size in (*curve.ours, *curve.paper)})
        tops = [mean + spread for curve in everything for mean, spread in curve.ours.values()]
        tops += [value for curve in everything for value in curve.paper.values()]
        self.ceiling = 10 * math.ceil(max(tops) / 10)
        self.rows = -(-len(curves) // COLUMNS)
        self.width = (WIDTH - LEFT - RIGHT - GAP * (COLUMNS - 1)) / COLUMNS

    def x(self, size: float) -> float:
        """From the left of a panel."""
        low, high = math.log(self.sizes[0]), math.log(self.sizes[-1])
        share = (math.log(size) - low) / (high - low or 1)
        return round(8 + share * (self.width - 16), 1)

    def y(self, accuracy: float) -> float:
        """From the top of a panel."""
        return round(TITLE + (HEIGHT - TITLE - GAP) * (1 - accuracy / self.ceiling), 1)

    def lines(self) -> Iterator[str]:
        height = HEAD + self.rows * HEIGHT + FOOT
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#20242c">'
        )
        yield f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        yield f'<text x="{LEFT}" y="22" font-size="16">{escape(self.title)}</text>'
        yield from self._legend()
        for number, curve in enumerate(self.curves):
            row, column = divmod(number, COLUMNS)
            across, down = LEFT + column * (self.width + GAP), HEAD + row * HEIGHT
            yield f'<g transform="translate({across:.1f} {down})">'
            below = number + COLUMNS < len(self.curves)
            yield from self._panel(curve, first=column == 0, last=not below)
            yield "</g>"
        yield (
            f'<text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end" fill="#687080">'
            "per cent of the training set (log scale); test accuracy in per cent</text>"
        )
        yield "</svg>"

    def _legend(self) -> Iterator[str]:
        across = LEFT
        for name, colour, dash in (
            ("ours, ± standard deviation", OURS, ""),
            ("the paper's", PAPERS, "4 3"),
            (f"{self.reference.name}, ours", REFERENCE, ""),
        ):
            yield (
                f'<path d="M{across} 40h22" stroke="{colour}" stroke-width="2" '
                f'stroke-dasharray="{dash or "none"}"/>'
            )
            yield f'<text x="{across + 28}" y="44" fill="#687080">{escape(name)}</text>'
            across += 52 + 6 * len(name)

    def _panel(self, curve: Curve, *, first: bool, last: bool) -> Iterator[str]:
        for value in range(0, self.ceiling + 1, 20):
            yield f'<path d="M0 {self.y(value)}H{self.width:.1f}" stroke="#e2e5ea"/>'
            if first:
                yield f'<text x="-6" y="{self.y(value) + 4}" text-anchor="end">{value}</text>'
        for size in self.sizes if last else ():
            where = f'x="{self.x(size)}" y="{self.y(0) + 15}"'
            yield f'<text {where} font-size="9" text-anchor="middle">{size:g}</text>'
        name, _, more = curve.name.partition(", ")
        yield f'<text x="2" y="14" font-weight="bold">{escape(name)}</text>'
        if more:
            yield f'<text x="2" y="26" font-size="9" fill="#687080">{escape(more)}</text>'
        yield self._way({x: mean for x, (mean, _) in self.reference.ours.items()}, REFERENCE)
        if curve.paper:
            yield self._way(curve.paper, PAPERS, "4 3")
        yield self._way({x: mean for x, (mean, _) in curve.ours.items()}, OURS)
        for size, (mean, spread) in sorted(curve.ours.items()):
            across, low, high = self.x(size), self.y(mean - spread), self.y(mean + spread)
            yield f'<path d="M{across} {low}V{high}" stroke="{OURS}" stroke-opacity="0.6"/>'
            told = f"{curve.name}, {size:g} %: {mean:.1f} ± {spread:.1f}"
            if size in curve.paper:
                told += f", the paper's {curve.paper[size]:g}"
            yield f'<circle cx="{across}" cy="{self.y(mean)}" r="3" fill="{OURS}">'
            yield f"<title>{escape(told)}</title></circle>"

    def _way(self, points: Mapping[float, float], colour: str, dash: str = "none") -> str:
        way = " ".join(f"{self.x(size)},{self.y(points[size])}" for size in sorted(points))
        return (
            f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.6" '
            f'stroke-dasharray="{dash}"/>'
        )
