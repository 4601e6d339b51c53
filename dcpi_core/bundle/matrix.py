"""The cross-architecture matrix of a dataset card: students by training sets."""

from dcpi_core.bundle.markdown import plain
from dcpi_core.spec.report import Arm, Difference, Report, bare_arm

COLUMNS = ("random", "base", "tuned", "assigned", "privileged")
"""Arms without and with labels; controls stay in the long table."""


def matrix_section(report: Report) -> list[str]:
    """Mean accuracy of every student on every set; no section for a single student."""
    networks = list(dict.fromkeys(arm.network for arm in report.arms))
    names = [name for name in COLUMNS if any(arm.name == name for arm in report.arms)]
    if len(networks) < 2:
        return []
    by_key: dict[tuple[str, str], Arm] = {(arm.name, arm.network): arm for arm in report.arms}
    titles = [plain(by_key[name, networks[0]].title) for name in names]
    labelled = "privileged" in names
    head = ["student", *titles, *(["what the labels are worth"] if labelled else [])]
    rows = []
    for network in networks:
        cells = [network, *(_cell(by_key[name, network]) for name in names)]
        if labelled:
            cells.append(_gain(_own_gain(report, network)))
        rows.append(cells)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    note = "\n\nMean accuracy and sample standard deviation, in per cent."
    if labelled:
        note += (
            " The last column is the paired difference between the set with its labels and the "
            "same images without them, with its standard error."
        )
    return ["## Students\n\n" + table + note]


def _cell(arm: Arm) -> str:
    spread = f" ± {100 * arm.std:.2f}" if arm.n > 1 else ""
    return f"{100 * arm.mean:.2f}{spread}"


def _own_gain(report: Report, network: str) -> Difference | None:
    """The labels against the very images that have them, tuned or not."""
    bare = bare_arm(report.arms, network)
    wanted = ("privileged", bare.name if bare else "", network)
    found = (d for d in report.differences if (d.arm, d.against, d.network) == wanted)
    return next(found, None)


def _gain(found: Difference | None) -> str:
    if found is None:
        return "-"
    error = "" if found.standard_error is None else f" ± {100 * found.standard_error:.2f}"
    return f"{100 * found.mean:+.2f}{error}"
