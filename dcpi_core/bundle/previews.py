"""Pictures of a bundle: the condensed images by class, and the accuracies with every run."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import denormalise
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.report import Arm, Report

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]

MAX_ROWS = 100
MAX_COLUMNS = 20
MAX_SIDE = 2400

INK: Colour = (32, 36, 44)
MUTED: Colour = (104, 112, 124)
RULE: Colour = (226, 229, 234)
PAPER: Colour = (255, 255, 255)
BARS: dict[str, Colour] = {
    "random": (188, 194, 204),
    "base": (111, 158, 207),
    "tuned": (74, 116, 170),
    "assigned": (230, 176, 92),
    "privileged": (38, 130, 112),
    # Controls: blue for the base method with more of something, green for labels on other terms.
    "equal_bytes": (158, 190, 224),
    "equal_steps": (158, 190, 224),
    "random_privileged": (142, 192, 180),
    "permuted": (142, 192, 180),
    "noise": (142, 192, 180),
    "full": (70, 74, 82),
    "other_view": (142, 192, 180),
    "random_other_view": (214, 218, 225),
}


def grid_png(condensed: CondensedSet, facts: DatasetFacts, caption: str) -> bytes:
    """Classes as rows, images as columns, denormalised and clamped; PNG bytes.

    At most ``MAX_ROWS`` classes and ``MAX_COLUMNS`` images of each are shown; the caption says so.
    Few images per class are laid out as several blocks side by side.
    """
    rows = _rows(to_pixels(condensed.images, facts), condensed, facts, MAX_COLUMNS)
    return _grid(rows, facts, caption, _grid_note(len(condensed), rows, facts))


def neighbours_png(
    condensed: CondensedSet, neighbours: Tensor, facts: DatasetFacts, caption: str
) -> bytes:
    """Chosen images, each with its nearest unchosen neighbour on its right; PNG bytes.

    Laid out like ``grid_png``, with half as many pairs in a row as it has images.

    Args:
        condensed: n images.
        neighbours: (n, C, H, W), normalised.
    """
    sides = [to_pixels(images, facts) for images in (condensed.images, neighbours)]
    rows = _rows(np.concatenate(sides, axis=2), condensed, facts, MAX_COLUMNS // 2)
    shown = sum(map(len, rows))
    note = f"{shown} of {len(condensed)} images, each with its nearest unchosen neighbour"
    return _grid(rows, facts.model_copy(update={"width": 2 * facts.width}), caption, note)


def _rows(
    pixels: Pixels, condensed: CondensedSet, facts: DatasetFacts, columns: int
) -> list[Pixels]:
    """The first images of each of the first classes."""
    labels = condensed.labels.cpu().numpy()
    return [pixels[labels == c][:columns] for c in range(min(facts.num_classes, MAX_ROWS))]


def _grid(rows: Sequence[Pixels], facts: DatasetFacts, caption: str, note: str) -> bytes:
    layout = _Layout.of(rows, facts)
    text_width = max(_font(16).getlength(caption), _font(12).getlength(note))
    width = max(layout.size[0], math.ceil(text_width) + 2 * layout.margin)
    canvas = Image.new("RGB", (width, layout.size[1]), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((layout.margin, layout.margin), caption, INK, _font(16))
    draw.text((layout.margin, layout.margin + 22), note, MUTED, _font(12))
    for position, row in enumerate(rows):
        _draw_row(canvas, layout, position, facts.classes[position], row)
    return _png(canvas)


def accuracy_png(report: Report, caption: str, network: str | None = None) -> bytes:
    """One bar per arm: its mean, its standard deviation, and a dot for every run; PNG bytes."""
    network = network or report.arms[0].network
    arms = [arm for arm in report.arms if arm.network == network]
    scale = 2  # drawn twice as large and reduced, which smooths every edge
    chart = _Chart(arms, scale)
    draw = ImageDraw.Draw(chart.canvas)
    chart.text(draw, (24, 20), _short(caption, 88), INK, 16)
    note = f"test accuracy of {network}, mean and standard deviation; one dot per run"
    chart.text(draw, (24, 43), note, MUTED, 12)
    chart.axis(draw)
    for position, arm in enumerate(arms):
        chart.bar(draw, position, arm)
    width, height = chart.canvas.size
    smooth = chart.canvas.resize((width // scale, height // scale), Image.Resampling.LANCZOS)
    return _png(smooth)


def to_pixels(images: Tensor, facts: DatasetFacts) -> Pixels:
    """Normalised (n, C, H, W) as uint8 RGB (n, H, W, 3), values outside [0, 1] clamped."""
    unit = denormalise(images.detach().cpu().float(), facts)
    colour = unit.expand(-1, 3, -1, -1) if facts.channels == 1 else unit
    pixels: Pixels = (colour * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


@dataclass(frozen=True)
class _Layout:
    """Where the cells of the grid are."""

    cell: tuple[int, int]
    columns: int
    rows: int
    blocks: int
    label_width: int
    margin: int = 20
    header: int = 52
    gap: int = 3

    @classmethod
    def of(cls, rows: Sequence[Pixels], facts: DatasetFacts) -> "_Layout":
        columns = max(1, *(len(row) for row in rows))
        longest = max(_font(13).getlength(_short(name)) for name in facts.classes[: len(rows)])
        label_width = math.ceil(longest) + 12
        # Cells of about 64 pixels, enlarged by whole factors so that every pixel stays square.
        factor = max(1, 64 // max(facts.height, facts.width))
        while factor > 1 and columns * factor * facts.width > MAX_SIDE:
            factor -= 1
        cell = (facts.width * factor, facts.height * factor)
        block_width = label_width + columns * (cell[0] + cls.gap)
        tall = len(rows) * (cell[1] + cls.gap)
        blocks = _balanced(len(rows), math.sqrt(1.5 * tall / block_width))
        return cls(cell, columns, math.ceil(len(rows) / blocks), blocks, label_width)

    @property
    def block_width(self) -> int:
        return self.label_width + self.columns * (self.cell[0] + self.gap)

    @property
    def size(self) -> tuple[int, int]:
        between = 18 * (self.blocks - 1)
        width = 2 * self.margin + self.blocks * self.block_width + between
        height = 2 * self.margin + self.header + self.rows * (self.cell[1] + self.gap)
        return width, height

    def origin(self, position: int) -> tuple[int, int]:
        """Upper left corner of a class's row."""
        block, row = divmod(position, self.rows)
        left = self.margin + block * (self.block_width + 18)
        return left, self.margin + self.header + row * (self.cell[1] + self.gap)


def _balanced(rows: int, wanted: float) -> int:
    """A number of blocks near ``wanted`` that leaves the last block as full as possible."""
    near = (
        {min(rows, max(1, round(wanted) + shift)) for shift in (-1, 0, 1)} if wanted > 1.5 else {1}
    )
    filled = {math.ceil(rows / math.ceil(rows / blocks)) for blocks in near}
    return min(filled, key=lambda b: (b * math.ceil(rows / b) - rows, abs(b - wanted)))


def _draw_row(canvas: Image.Image, layout: _Layout, position: int, name: str, row: Pixels) -> None:
    left, top = layout.origin(position)
    middle = top + layout.cell[1] / 2
    right = left + layout.label_width - 10
    ImageDraw.Draw(canvas).text((right, middle), _short(name), INK, _font(13), anchor="rm")
    for column, pixels in enumerate(row):
        enlarged = Image.fromarray(pixels).resize(layout.cell, Image.Resampling.NEAREST)
        x = left + layout.label_width + column * (layout.cell[0] + layout.gap)
        canvas.paste(enlarged, (x, top))


def _grid_note(total: int, rows: Sequence[Pixels], facts: DatasetFacts) -> str:
    shown = sum(len(row) for row in rows)
    size = f"{facts.width} x {facts.height} pixels"
    if shown == total:
        return f"all {total} images, {size}, colours clamped to the displayable range"
    return (
        f"{shown} of {total} images ({len(rows)} of {facts.num_classes} classes), {size}, "
        "colours clamped to the displayable range"
    )


class _Chart:
    """Horizontal bars on an accuracy axis that starts at zero."""

    width, top, row, label_right, right = 800, 84, 46, 272, 118

    def __init__(self, arms: Sequence[Arm], scale: int) -> None:
        self.scale = scale
        self.rows = len(arms)
        best = max(max(arm.runs) for arm in arms)
        self.step = next(
            s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if best <= 5 * s or s == 0.25
        )
        self.maximum = min(1.0, self.step * max(1, math.ceil(best / self.step)))
        height = self.top + self.rows * self.row + 44
        self.canvas = Image.new("RGB", (self.width * scale, height * scale), PAPER)

    def axis(self, draw: ImageDraw.ImageDraw) -> None:
        """Grid lines with their accuracies below."""
        bottom = self.top + self.rows * self.row
        for tick in range(round(self.maximum / self.step) + 1):
            x = self._x(tick * self.step)
            self._shape(draw, (x - 0.5, self.top - 6, x + 0.5, bottom + 4), RULE)
            percent = f"{100 * tick * self.step:.0f} %"
            self.text(draw, (x, bottom + 10), percent, MUTED, 12, anchor="ma")

    def bar(self, draw: ImageDraw.ImageDraw, position: int, arm: Arm) -> None:
        """One arm: title, bar, whisker, runs and figures."""
        middle = self.top + (position + 0.5) * self.row
        self.text(
            draw, (self.label_right - 12, middle), _short(arm.title, 36), INK, 13, anchor="rm"
        )
        mean = self._x(arm.mean)
        self._shape(draw, (self._x(0), middle - 12, mean, middle + 12), BARS[arm.name])
        low, high = self._x(max(0, arm.mean - arm.std)), self._x(min(1, arm.mean + arm.std))
        if arm.n > 1:
            self._shape(draw, (low, middle - 0.75, high, middle + 0.75), INK)
            for end in (low, high):
                self._shape(draw, (end - 0.75, middle - 5, end + 0.75, middle + 5), INK)
        for number, run in enumerate(arm.runs):
            # Runs of about the same accuracy are spread vertically, so that each can be seen.
            offset = 14 * (number + 0.5) / arm.n - 7
            self._dot(draw, self._x(run), middle + offset)
        figures = (
            f"{100 * arm.mean:.1f} ± {100 * arm.std:.1f}" if arm.n > 1 else f"{100 * arm.mean:.1f}"
        )
        edge = max(mean, high, self._x(max(arm.runs)) + 4)
        self.text(draw, (edge + 10, middle), figures, INK, 13, anchor="lm")

    def text(
        self,
        draw: ImageDraw.ImageDraw,
        at: tuple[float, float],
        content: str,
        colour: Colour,
        size: int,
        *,
        anchor: str = "la",
    ) -> None:
        """Write at a position in unscaled pixels."""
        position = (at[0] * self.scale, at[1] * self.scale)
        draw.text(position, content, colour, _font(size * self.scale), anchor=anchor)

    def _x(self, accuracy: float) -> float:
        return self.label_right + accuracy / self.maximum * (
            self.width - self.right - self.label_right
        )

    def _shape(self, draw: ImageDraw.ImageDraw, box: Box, colour: Colour) -> None:
        left, top, right, bottom = (round(side * self.scale) for side in box)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=colour)

    def _dot(self, draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
        radius = 3.0
        box = [side * self.scale for side in (x - radius, y - radius, x + radius, y + radius)]
        draw.ellipse(box, fill=PAPER, outline=INK, width=max(1, self.scale * 3 // 4))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)  # shipped inside Pillow: the same on every machine
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font


def _short(text: str, limit: int = 24) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _png(canvas: Image.Image) -> bytes:
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
