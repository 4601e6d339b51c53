"""What checks and verifications found, a line for each. Imports no torch."""

from dcpi_core.cli import screen
from dcpi_core.cli.table import Row
from dcpi_core.spec.verification import Verification


def show(found: Verification) -> None:
    """A line for each arm: both accuracies and the tolerance; then when, where and what not."""
    for check in found.failed_checks:
        line(False, f"{check.name}: {check.detail}")
    for arm in found.arms:
        ours, theirs = (
            Row("", "", arm.network, runs, 0).accuracy for runs in (arm.measured, arm.reported)
        )
        line(
            arm.verdict == "reproduced",
            f"{arm.verdict}: {arm.arm}, {arm.network}: {ours} %, reported {theirs} %, difference "
            f"{100 * arm.difference:+.2f} of at most {100 * arm.tolerance:.2f}",
        )
    console = screen.out()
    protocol = f"protocol {found.protocol}, " if found.protocol else ""
    where = f"{protocol}{found.created_at}, {found.environment.machine}"
    console.print(where, markup=False)
    if found.unverified:
        names = ", ".join(dict.fromkeys(other.arm for other in found.unverified))
        console.print(f"not in the bundle, so not verified: {names}", markup=False)


def line(good: bool, text: str) -> None:
    """One thing that is as it should be, or is not."""
    mark, style = ("ok  ", "green") if good else ("FAIL", "bold red")
    screen.out().print(mark, style=style, end=" ")
    screen.out().print(text, markup=False)
