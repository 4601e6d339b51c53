"""The measured part of a dataset card: accuracies, classes, label statistics and cost."""

from statistics import fmean

from dcpi_core.bundle.markdown import plain
from dcpi_core.bundle.matrix import matrix_section
from dcpi_core.spec.manifest import Manifest
from dcpi_core.spec.report import (
    Arm,
    GradientAlignment,
    LabelStatistics,
    Report,
    Score,
    Selection,
)

LISTED_IMAGES = 50
"""Chosen images that the card lists; the report has them all."""

ACCURACY_NAME = "previews/accuracy.png"
NEIGHBOURS_NAME = "previews/neighbours.png"


def measured_sections(manifest: Manifest, report: Report) -> list[str]:
    """Everything that was measured, section by section; those without content are left out."""
    return [
        "## Accuracy\n\n" + _picture(manifest) + _accuracy(report),
        *matrix_section(report),
        *_scores(report),
        "## Classes and calibration\n\n" + _classes(manifest, report),
        *_selection(manifest, report),
        *_labels(report),
        *_gradients(report),
        *_cost(report),
    ]


def _picture(manifest: Manifest) -> str:
    if all(file.path != ACCURACY_NAME for file in manifest.files):
        return ""
    return f"![accuracy of every training set]({ACCURACY_NAME})\n\n"


def _accuracy(report: Report) -> str:
    head = "| training set | network | images | bytes | accuracy (%) | std | n | runs (%) |\n"
    rule = "|---|---|---:|---:|---:|---:|---:|---|\n"
    rows = "\n".join(_arm_row(arm) for arm in report.arms)
    note = (
        f"\n\nTop-1 on {report.num_test:,} test images after the last epoch. Protocol "
        f"`{report.protocol}`, {report.epochs} epochs; std is the sample standard deviation; arms "
        "share their seeds, run by run."
    )
    return head + rule + rows + note + _best_epochs(report) + _differences(report)


def _best_epochs(report: Report) -> str:
    """Best-epoch accuracies, apart from the table so that nobody takes one for the other."""
    lines = [
        f"- {plain(arm.title)} ({arm.network}): {100 * fmean(arm.best_epoch_runs):.2f}"
        for arm in report.arms
        if arm.best_epoch_runs
    ]
    if not lines:
        return ""
    head = (
        "\n\nBest epoch, chosen by test accuracy (%): for comparison with publications that report "
        "it, optimistic, and used nowhere else.\n\n"
    )
    return head + "\n".join(lines)


def _arm_row(arm: Arm) -> str:
    runs = " ".join(f"{100 * run:.2f}" for run in arm.runs)
    std = f"{100 * arm.std:.2f}" if arm.n > 1 else "-"
    cells = [plain(arm.title), arm.network, f"{arm.num_images:,}", f"{arm.train_bytes:,}"]
    return f"| {' | '.join(cells)} | {100 * arm.mean:.2f} | {std} | {arm.n} | {runs} |"


def _differences(report: Report) -> str:
    lines = []
    for item in report.differences:
        error = "" if item.standard_error is None else f" ± {100 * item.standard_error:.2f}"
        tells = f", {item.tells}" if item.tells else ""
        lines.append(
            f"- {item.arm} against {item.against} ({item.network}): "
            f"{100 * item.mean:+.2f}{error} points{tells}"
        )
    if not lines:
        return ""
    count = report.differences[0].n
    head = f"Paired differences, mean and standard error over {count} seeds; docs/protocols.md of "
    return "\n\n" + head + "DCPI says what each arm is:\n\n" + "\n".join(lines)


def _scores(report: Report) -> list[str]:
    """Scores over several arms; no section in reports from before there were any."""
    if not report.scores:
        return []
    rows = [
        f"| {found.name} | {found.network} | {found.reason or _score_figures(found)} |"
        for found in report.scores
    ]
    note = (
        "\n\nOn accuracies in [0, 1], run by run; mean and standard error. pi_gain, ior, ior_pi "
        "and hlr are differences; lrs and ars go from 0 to 1, 0.269 being no better than random. "
        "docs/protocols.md of DCPI defines each."
    )
    return ["## Scores\n\n| score | network | value |\n|---|---|---|\n" + "\n".join(rows) + note]


def _score_figures(found: Score) -> str:
    error = "" if found.standard_error is None else f" ± {found.standard_error:.4f}"
    return f"{found.mean:.4f}{error}"


def _classes(manifest: Manifest, report: Report) -> str:
    head = "| training set | network | worst class | its accuracy (%) | calibration error (%) |\n"
    rows = [_class_row(manifest, arm) for arm in report.arms]
    note = (
        "\n\nAccuracy on the worst class is a mean over the runs, as is the expected calibration "
        "error (15 bins). `report.json` has every class and, up to 20 classes, the confusion "
        "matrices."
    )
    return head + "|---|---|---|---:|---:|\n" + "\n".join(rows) + note


def _class_row(manifest: Manifest, arm: Arm) -> str:
    worst = min(range(len(arm.per_class)), key=arm.per_class.__getitem__)
    errors = arm.calibration_errors
    error = f"{100 * fmean(errors):.1f}" if errors else "-"
    name = plain(manifest.task.classes[worst])
    figures = f"{100 * arm.per_class[worst]:.1f} | {error}"
    return f"| {plain(arm.title)} | {arm.network} | {name} | {figures} |"


def _selection(manifest: Manifest, report: Report) -> list[str]:
    """What a coreset rule chose; no section where images were made."""
    chosen = report.selection
    if chosen is None:
        return []
    head = f"| {plain(chosen.space)} | mean distance | largest |\n|---|---:|---:|\n"
    rows = [
        f"| {name} | {found.mean:.4g} | {found.largest:.4g} |"
        for name, found in (
            ("to the nearest chosen image", chosen.distances),
            ("to the nearest of as many random images", chosen.random_distances),
        )
    ]
    shares = sorted(chosen.stands_for)
    note = (
        "\n\nFrom every training image, within its class. A chosen image is the nearest one of "
        f"{shares[len(shares) // 2]:,} training images in the median and of at most "
        f"{shares[-1]:,}.\n\n"
    )
    return ["## Selection\n\n" + head + "\n".join(rows) + note + _chosen(manifest, chosen)]


def _chosen(manifest: Manifest, chosen: Selection) -> str:
    """The first chosen images, their places in the source and their nearest unchosen neighbours."""
    head = (
        "| image | place in the training split | nearest one of | nearest unchosen neighbour | "
        "distance |\n|---:|---:|---:|---:|---:|\n"
    )
    columns = (
        chosen.source_indices,
        chosen.stands_for,
        chosen.neighbours,
        chosen.neighbour_distances,
    )
    rows = [
        f"| {number} | {place} | {share} | {'-' if distance is None else neighbour} | "
        f"{'-' if distance is None else format(distance, '.4g')} |"
        for number, (place, share, neighbour, distance) in enumerate(zip(*columns, strict=True))
    ]
    note = f"\n\n`report.json` lists all {len(rows):,}." if len(rows) > LISTED_IMAGES else ""
    if any(file.path == NEIGHBOURS_NAME for file in manifest.files):
        note += f"\n\n![chosen images and their neighbours]({NEIGHBOURS_NAME})"
    return head + "\n".join(rows[:LISTED_IMAGES]) + note


def _labels(report: Report) -> list[str]:
    """How discriminative and how diverse the labels are; no section without labels."""
    if not report.label_statistics:
        return []
    head = (
        "| labels | transfer (%) | of real ones | Fisher ratio | effective rank | of real ones | "
        "distance within a class | drift | verdict |\n|---|" + "---:|" * 7 + "---|\n"
    )
    rows = "\n".join(_label_row(found) for found in report.label_statistics)
    note = (
        "\n\nTransfer: how well class means of the labels recognise what the teacher says of "
        "further real training images. Real ones: the same for as many real images' labels."
    )
    return ["## Labels\n\n" + head + rows + note]


def _label_row(found: LabelStatistics) -> str:
    numbers = (
        (found.transfer, 100, ".1f"),
        (found.real_transfer, 100, ".1f"),
        (found.fisher_ratio, 1, ".3g"),
        (found.effective_rank, 1, ".1f"),
        (found.real_effective_rank, 1, ".1f"),
        (found.within_class_distance, 1, ".3g"),
        (found.drift, 1, ".3g"),
    )
    cells = [
        "-" if value is None else f"{factor * value:{form}}" for value, factor, form in numbers
    ]
    label = f"{found.kind}, {found.stage}"
    return f"| {label} | {' | '.join(cells)} | {found.verdict or '-'} |"


def _gradients(report: Report) -> list[str]:
    """Cosines with real gradients; no section unless the job asked for them."""
    rows = [row for found in report.gradient_alignment for row in _gradient_rows(found)]
    if not rows:
        return []
    steps = report.gradient_alignment[0].steps
    head = "| students learn from | gradient on | " + " | ".join(f"step {n:,}" for n in steps)
    rule = "\n|---|---|" + "---:|" * len(steps) + "\n"
    note = (
        "\n\nCosine between the extractor's gradient on this set and that on real images at the "
        f"same weights, mean of {report.gradient_alignment[0].students} students."
    )
    return ["## Gradients\n\n" + head + " |" + rule + "\n".join(rows) + note]


def _gradient_rows(found: GradientAlignment) -> list[str]:
    names = {"base": "the images alone", "privileged": "images and labels"}
    cosines = {"base": found.base, "privileged": found.privileged}
    return [
        f"| {names[found.follows]} | {names[kind]} | "
        + " | ".join(f"{cosine:.3f}" for cosine in own)
        + " |"
        for kind, own in cosines.items()
    ]


def _cost(report: Report) -> list[str]:
    """Time and memory; no section in reports from before they were measured."""
    cost = report.cost
    if cost is None:
        return []
    phases = ", ".join(f"{name} {seconds:,.1f}" for name, seconds in report.seconds.items())
    text = f"Wall seconds by phase: {phases}. Peak memory {cost.peak_memory_bytes / 2**20:,.0f} MiB"
    if cost.peak_device_memory_bytes is not None:
        text += f", on the GPU {cost.peak_device_memory_bytes / 2**20:,.0f} MiB"
    text += f". Machine: {plain(report.environment.machine)}, {report.environment.device}."
    if cost.full_epochs is not None:
        text += (
            f" Making the set took as long as {cost.full_epochs:,.1f} epochs of training on all "
            f"the training data ({cost.full_epoch_seconds:,.2f} s each)."
        )
    if cost.break_even_students is not None:
        text += (
            f" {cost.break_even_students:,.1f} trainings on it in place of as many on all training "
            "images save that time."
        )
    return ["## Cost\n\n" + text]
