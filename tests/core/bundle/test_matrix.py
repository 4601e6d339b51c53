"""Students by training sets, without labels and with them."""

from dcpi_core.bundle.matrix import matrix_section
from dcpi_core.evaluation.reporting import differences


def test_one_student_needs_no_matrix(report):
    assert matrix_section(report) == []


def test_every_student_has_a_row_and_every_set_a_column(report):
    """A second student that does ten points worse without labels and just as well with them."""
    further = [
        arm.model_copy(
            update={
                "network": "MLP",
                "runs": tuple(run - 0.1 * (arm.name == "base") for run in arm.runs),
            }
        )
        for arm in report.arms
    ]
    arms = (*report.arms, *further)
    both = report.model_copy(update={"arms": arms, "differences": differences(arms)})
    (section,) = matrix_section(both)
    head, _, *rows = section.splitlines()[2:6]
    assert head.split(" | ")[1:] == [
        "random images",
        "dc alone",
        "dc + assigned feature labels",
        "dc + learned feature labels",
        "what the labels are worth |",
    ]
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [row[0] for row in cells] == ["ConvNetD2", "MLP"]
    assert [row[2] for row in cells] == ["28.03 ± 0.40", "18.03 ± 0.40"]
    assert cells[0][4] == cells[1][4] == "30.27 ± 0.60"
    assert [row[5] for row in cells] == ["+2.23 ± 0.58", "+12.23 ± 0.58"]


def test_the_labels_of_tuned_images_are_compared_with_the_tuned_images(report):
    """Tuning is worth ten points here, of which the labels get none."""
    base = report.arms[1]
    tuned = base.model_copy(update={"name": "tuned", "runs": tuple(run + 0.1 for run in base.runs)})
    arms = tuple(
        arm.model_copy(update={"network": network})
        for network in ("ConvNetD2", "MLP")
        for arm in (*report.arms, tuned)
    )
    both = report.model_copy(update={"arms": arms, "differences": differences(arms)})
    (section,) = matrix_section(both)
    rows = [line.strip("| ").split(" | ") for line in section.splitlines()[4:6]]
    assert [row[-1].split(" ± ")[0] for row in rows] == ["-7.77"] * 2  # +2.23 against the base


def test_controls_and_labels_that_are_not_there_have_no_column(report):
    arms = tuple(
        arm.model_copy(update={"network": network})
        for network in ("ConvNetD2", "LeNet")
        for arm in (*report.arms[:2], report.arms[1].model_copy(update={"name": "full"}))
    )
    (section,) = matrix_section(report.model_copy(update={"arms": arms, "differences": ()}))
    assert section.splitlines()[2] == "| student | random images | dc alone |"
    assert "labels" not in section
