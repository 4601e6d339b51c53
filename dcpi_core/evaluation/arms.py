"""The arms of a report: the training sets that are measured side by side with the same seeds."""

from dataclasses import dataclass
from typing import Literal

import torch

from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context

ArmName = Literal["random", "base", "tuned", "assigned", "privileged"]


@dataclass(frozen=True)
class ArmPlan:
    """A training set to measure; ``condensed`` None stands for fresh random images each run."""

    name: ArmName
    title: str
    condensed: CondensedSet | None


def plan_arms(
    base: CondensedSet,
    tuned: CondensedSet | None,
    assigned: CondensedSet | None,
    enriched: CondensedSet | None,
    base_method: str,
) -> list[ArmPlan]:
    """The arms of a job, in the order the report shows them.

    Args:
        base: the base method's images with hard labels only.
        tuned: the images as tuned together with labels, but without the labels.
        assigned: the base method's images with directly assigned labels, where the shipped labels
            were learned.
        enriched: the set as shipped, if it has privileged labels.
        base_method: its name, for the titles.
    """
    arms = [ArmPlan("random", "random images", None), ArmPlan("base", base_method, base)]
    if tuned is not None:
        arms.append(ArmPlan("tuned", f"{base_method}, images tuned", tuned))
    if assigned is not None:
        arms.append(ArmPlan("assigned", f"{base_method} + assigned {_kinds(assigned)}", assigned))
    if enriched is not None:
        arms.append(ArmPlan("privileged", f"{base_method} + {_kinds(enriched)}", enriched))
    return arms


def training_set(arm: ArmPlan, repeat: int, ctx: Context) -> CondensedSet:
    """What the student of this repeat trains on; random images are drawn anew each time."""
    if arm.condensed is not None:
        return arm.condensed
    picked = []
    for label in range(ctx.facts.num_classes):
        members = ctx.train.of_class(label)
        draw = ctx.streams.generator("random_arm", repeat, label)
        picked.append(members[torch.randperm(len(members), generator=draw)[: ctx.images_per_class]])
    index = torch.cat(picked)
    return CondensedSet(ctx.normalised(index).cpu(), ctx.train.labels[index])


def _kinds(condensed: CondensedSet) -> str:
    return " + ".join(f"{labels.kind} labels" for labels in condensed.privileged)
