"""The accuracy table: every command that shows accuracies shows them like this. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.table import Table

from dcpi_core.spec.report import Report


@dataclass(frozen=True)
class Row:
    """One training set and its accuracies in [0, 1]; ``role`` is the report's name for it."""

    role: str
    title: str
    network: str
    runs: tuple[float, ...]
    train_bytes: int

    @property
    def mean(self) -> float:
        return fmean(self.runs)

    @property
    def accuracy(self) -> str:
        """Mean, sample standard deviation and number of runs, in percent."""
        if len(self.runs) == 1:
            return f"{100 * self.mean:.1f} (n=1)"
        return f"{100 * self.mean:.1f} ± {100 * stdev(self.runs):.1f} (n={len(self.runs)})"


def rows_of(report: Report) -> list[Row]:
    """The arms of a report as rows."""
    return [Row(arm.name, arm.title, arm.network, arm.runs, arm.train_bytes) for arm in report.arms]


def accuracy_table(rows: Sequence[Row], title: str = "") -> Table:
    """Training sets as rows; the difference is against the base method with the same network."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    several = len({row.network for row in rows}) > 1
    table.add_column("training set")
    if several:
        table.add_column("network")
    for name in ("accuracy, %", "against base", "bytes"):
        table.add_column(name, justify="right")
    for row in rows:
        network = [row.network] if several else []
        table.add_row(row.title, *network, row.accuracy, _delta(row, rows), f"{row.train_bytes:,}")
    return table


def _delta(row: Row, rows: Sequence[Row]) -> str:
    base = [other for other in rows if other.role == "base" and other.network == row.network]
    if not base or row.role == "base":
        return ""
    return f"{100 * (row.mean - base[0].mean):+.1f}"
