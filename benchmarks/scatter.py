"""A scatter chart as SVG: accuracy over bytes, the undominated points joined and named."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 56, 52
COLOURS = ("#7b8494", "#c98a1b", "#268270", "#6f9ecf", "#8a5fb5", "#b5483a")


@dataclass(frozen=True)
class Point:
    """Accuracy in per cent, its standard deviation, and what it cost."""

    size: int
    accuracy: float
    spread: float
    series: str
    name: str


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats with as few bytes, by size."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.size, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def scatter_svg(points: Sequence[Point], title: str) -> str:
    """The chart; every point tells its name and figures when the pointer rests on it."""
    return "\n".join(_Chart(points, title).lines()) + "\n"


class _Chart:
    def __init__(self, points: Sequence[Point], title: str) -> None:
        self.points, self.title = points, title
        self.series = list(dict.fromkeys(point.series for point in points))
        low, high = min(p.size for p in points), max(p.size for p in points)
        self.decades = (math.log10(low) - 0.06, math.log10(high) + 0.28)
        self.floor = math.floor(min(p.accuracy - p.spread for p in points))
        self.ceiling = math.ceil(max(p.accuracy + p.spread for p in points)) + 1

    def x(self, size: float) -> float:
        first, last = self.decades
        share = (math.log10(size) - first) / (last - first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.floor) / (self.ceiling - self.floor)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def lines(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#20242c">'
        )
        yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        yield f'<text x="{LEFT}" y="24" font-size="16">{escape(self.title)}</text>'
        yield from self._legend()
        yield from self._grid()
        best = frontier(self.points)
        way = " ".join(f"{self.x(p.size)},{self.y(p.accuracy)}" for p in best)
        yield f'<polyline points="{way}" fill="none" stroke="#20242c" stroke-dasharray="3 4"/>'
        for point in self.points:
            yield from self._point(point)
        for point in best:
            where = f'x="{self.x(point.size) + 7}" y="{self.y(point.accuracy) - 6}"'
            yield f'<text {where} font-size="11">{escape(point.name)}</text>'
        yield "</svg>"

    def _legend(self) -> Iterator[str]:
        across = float(LEFT)
        for number, name in enumerate(self.series):
            yield f'<circle cx="{across + 4}" cy="40" r="4" fill="{COLOURS[number]}"/>'
            yield f'<text x="{across + 13}" y="44" fill="#687080">{escape(name)}</text>'
            across += 26 + 6.4 * len(name)

    def _grid(self) -> Iterator[str]:
        step = 5 if self.ceiling - self.floor > 12 else 2
        for value in range(step * math.ceil(self.floor / step), self.ceiling + 1, step):
            down = self.y(value)
            yield f'<path d="M{LEFT} {down}H{WIDTH - RIGHT}" stroke="#e2e5ea"/>'
            yield f'<text x="{LEFT - 8}" y="{down + 4}" text-anchor="end">{value}</text>'
        for size in _ticks(*self.decades):
            text = f"{size / 1000:g} kB" if size < 10**6 else f"{size / 10**6:g} MB"
            across, base = self.x(size), HEIGHT - BOTTOM
            yield f'<path d="M{across} {base}v5" stroke="#20242c"/>'
            yield f'<text x="{across}" y="{base + 19}" text-anchor="middle">{text}</text>'
        yield (
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end" fill="#687080">'
            "bytes of images and labels (log scale); test accuracy in per cent</text>"
        )

    def _point(self, point: Point) -> Iterator[str]:
        across, down = self.x(point.size), self.y(point.accuracy)
        colour = COLOURS[self.series.index(point.series)]
        low, high = self.y(point.accuracy - point.spread), self.y(point.accuracy + point.spread)
        yield f'<path d="M{across} {low}V{high}" stroke="{colour}" stroke-opacity="0.5"/>'
        told = f"{point.name}: {point.accuracy:.1f} ± {point.spread:.1f}, {point.size:,} bytes"
        yield f'<circle cx="{across}" cy="{down}" r="4.5" fill="{colour}">'
        yield f"<title>{escape(told)}</title></circle>"


def _ticks(first: float, last: float) -> list[int]:
    """1, 2 and 5 times powers of ten inside the decades."""
    found = (
        factor * 10**decade
        for decade in range(math.floor(first), math.ceil(last) + 1)
        for factor in (1, 2, 5)
    )
    return [size for size in found if first <= math.log10(size) <= last]
