"""The report of a finished job, from everything in its memory."""

from collections.abc import Iterator, Sequence

from dcpi_core.accounting import cost_of
from dcpi_core.bundle.tensors import stored_bytes
from dcpi_core.compute import Runtime
from dcpi_core.evaluation.arms import ArmPlan
from dcpi_core.evaluation.measure import Measurement
from dcpi_core.evaluation.reporting import build_arm, differences, environment, seeds_of
from dcpi_core.evaluation.scores import scores
from dcpi_core.evaluation.selection import notes_on
from dcpi_core.memory import Memory
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.report import Arm, GradientAlignment, LabelStatistics, Report, Selection


def report_of(
    memory: Memory,
    spec: JobSpec,
    plans: Sequence[ArmPlan],
    control_notes: Sequence[str],
    runtime: Runtime,
) -> Report:
    """The complete report of the job whose memory this is.

    Args:
        plans: the arms that were measured.
        control_notes: a sentence for each control that was left out.
    """
    arms = _arms(memory, plans, spec.evaluation.networks)
    selection = None if memory.selection is None else Selection(**memory.selection)
    return Report(
        protocol=spec.evaluation.protocol,
        epochs=spec.evaluation.epochs,
        seeds=seeds_of(spec),
        num_test=spec.dataset.num_test,
        arms=tuple(arms),
        differences=differences(arms),
        scores=scores(arms),
        bytes=stored_bytes(memory.shipped),
        seconds={name: round(value, 3) for name, value in memory.seconds.items()},
        cost=cost_of(memory, arms),
        metrics=dict(memory.metrics),
        label_statistics=tuple(LabelStatistics(**each) for each in memory.label_statistics),
        gradient_alignment=tuple(GradientAlignment(**each) for each in memory.gradient_alignment),
        selection=selection,
        environment=environment(runtime),
        notes=(*control_notes, *notes_on(selection, spec.dataset.classes), *_reused(memory)),
    )


def _arms(memory: Memory, plans: Sequence[ArmPlan], networks: Sequence[str]) -> list[Arm]:
    return [
        build_arm(
            plan,
            network,
            [
                Measurement.restore(run)
                for run in memory.runs
                if (run["arm"], run["network"]) == (plan.name, network)
            ],
        )
        for plan in plans
        for network in networks
    ]


def _reused(memory: Memory) -> Iterator[str]:
    """What had been done before this job."""
    if memory.networks_found:
        yield (
            f"{memory.networks_found} of the teachers and proxies had been trained, or begun, by "
            "an earlier job or an earlier try of this one; the seconds of the first phase may "
            "leave out what that took."
        )
    if memory.base_reused:
        yield (
            "The base set is that of an earlier job with the same dataset, budget, method, options "
            "and seed; the seconds of its phase were measured there."
        )
    if memory.remembered:
        yield (
            f"{memory.remembered} of {len(memory.runs)} students had been measured before, on the "
            "same bytes with the same seeds; the seconds of the evaluation leave them out."
        )
