"""Feature labels: target intermediate features f* for each condensed image (the paper's core).

They are either assigned, the features of a teacher on the image itself, or learned from there: by
gradient matching (Eq. 2 to 4), with the images fixed or tuned along with them; by matching the
class means of the teacher's features on real images, in one exact step; or through the training of
students, unrolled.

Our measurements decide the defaults: labels of a teacher that has learned something, weighted
strongly (lambda 10, beta 1), gain far more than the published settings, which stay available as
the preset ``published``.
"""

from dataclasses import dataclass, replace
from statistics import median
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd import forward_ad

from dcpi_core.compute import sent
from dcpi_core.condensed import CondensedSet
from dcpi_core.context import Context, Metrics
from dcpi_core.matching import (
    LoopOptions,
    freeze_batch_norm,
    match_images,
    network_state,
    real_gradients,
    train_between_updates,
)
from dcpi_core.networks import Layer, Network
from dcpi_core.ops.pooling import Form, Pooling, pool
from dcpi_core.privileged.base import Enrichment, TeacherOptions, drift
from dcpi_core.privileged.features.distribution import class_means, pooled_features, with_means
from dcpi_core.privileged.features.labels import FeatureLabels, LabelSettings, pooled_shape
from dcpi_core.privileged.features.matching import (
    LabelTerms,
    Match,
    match_labels,
    match_with_images,
)
from dcpi_core.privileged.features.presets import MEASURED, PRESETS, UNROLLED
from dcpi_core.privileged.features.storage import Storage, as_stored
from dcpi_core.real_training import TrainingPlan
from dcpi_core.registry import PRIVILEGED_TYPES
from dcpi_core.spec.controls import label_steps, networks_matched_at, teachers_of
from dcpi_core.spec.job import Component
from dcpi_core.spec.rules import tunes_images
from dcpi_core.unrolling import UnrolledOptions, nobody, update
from dcpi_core.window import Course

RELATIVE_STEP = 2e-3
"""What an automatic label step aims at: movement per step, relative to the labels' size."""

STEPS_THAT_SET_THE_RATE = 20


class FeatureOptions(TeacherOptions, LoopOptions, UnrolledOptions):
    """Weights of the student's terms, the teacher, and how labels are learned if they are."""

    layer: Layer = Field("final", description="block whose output is the label, after its pooling")
    learning: Literal["assigned", "gradient_matching", "distribution_matching", "unrolled"] = Field(
        "assigned", description="a teacher's features as they are, or learned on from there"
    )
    schedule: Literal["labels_only", "alternating", "joint"] = Field(
        "labels_only",
        description="while gradients are matched: images fixed, tuned beside the labels by plain "
        "gradient matching, or with them by one distance",
    )
    regression_weight: float = Field(10.0, ge=0, le=1e4, description="lambda of Eq. 5")
    task_weight: float = Field(
        1.0, ge=0, le=1e4, description="beta of Eq. 5, in the student's loss"
    )
    contrast_weight: float = Field(
        0.0, ge=0, le=1e4, description="InfoNCE between features and labels, in the student's loss"
    )
    channel_weight: float | None = Field(
        None,
        ge=0,
        le=1e4,
        description="cross entropy between the channels of features and labels, each read as "
        "logits, in the student's loss; default: no such term",
    )
    labels_per_image: int = Field(1, ge=1, le=16, description="N, each from a teacher of its own")
    combine: Literal["mean", "random"] = Field(
        "mean", description="N labels are averaged, or kept and one is drawn for each use"
    )
    storage: Storage = Field(
        "int8", description="how label values are stored; 8 bits cost no measured accuracy"
    )
    label_init: Literal["teacher", "noise"] = "teacher"
    label_networks: Literal["fresh", "trained"] = Field(
        "fresh", description="gradients are matched at new networks, or at teachers of other seeds"
    )
    label_task_weight: float = Field(
        0.1, ge=0, le=1e4, description="beta of Eq. 4 while labels are learned"
    )
    task_term: Literal["direct", "matched"] = Field(
        "direct", description="the task term beside the matching distance, or inside its gradient"
    )
    label_step: Literal["fixed", "auto"] = Field(
        "auto", description="auto: 0.2 % of the labels' size by one gradient, whatever lambda is"
    )
    label_learning_rate: float = Field(0.1, gt=0, le=1e4, description="of a fixed label step")
    label_momentum: float = Field(0.5, ge=0, lt=1)
    tuned_image_learning_rate: float = Field(0.1, gt=0, le=100)
    tuned_image_momentum: float = Field(0.5, ge=0, lt=1)


@dataclass
class FeatureState:
    """Labels as they are and as they were, images, and networks while they are trained.

    ``values``, ``start`` and ``velocity`` are (N, n, ...); ``gradient_sizes`` are the root mean
    squares of the first label gradients; ``pupils`` are the students of unrolled learning.
    """

    values: Tensor
    start: Tensor
    velocity: Tensor
    images: Tensor
    image_velocity: Tensor
    network: dict[str, Tensor]
    gradient_sizes: list[float]
    pupils: dict[str, Tensor]
    teacher: str
    teacher_accuracy: float


@PRIVILEGED_TYPES.register(
    "feature",
    options=FeatureOptions,
    source="DCPI paper, Eq. 1 to 6 (arXiv 2410.01611)",
    presets=(*PRESETS, *MEASURED, *UNROLLED),
)
class Feature:
    """Target features of a block, assigned from a teacher or learned on from there."""

    labels: ClassVar[type[FeatureLabels]] = FeatureLabels
    state_type = FeatureState

    def __init__(self, options: FeatureOptions) -> None:
        self.options = options

    @property
    def learned_form(self) -> Form:
        """The form in which labels are learned; they are pooled afterwards if it is not theirs."""
        return self.labels.form

    @property
    def pooling(self) -> Pooling:
        return "average"

    @property
    def component(self) -> Component:
        """This type as a spec names it: the rules for specs hold here."""
        return Component(name=self.labels.kind, options=self.options.model_dump())

    def needs(self, ctx: Context) -> list[TrainingPlan]:
        return [*self._sources(ctx), *self._trained_networks(ctx)]

    def teachers(self, ctx: Context) -> list[TrainingPlan]:
        return self._sources(ctx) if self.options.label_init == "teacher" else []

    def total_steps(self, ctx: Context) -> int:
        return label_steps(self.component)

    def init(self, condensed: CondensedSet, ctx: Context) -> FeatureState:
        options, plans = self.options, self._sources(ctx)
        teachers = [ctx.trained_network(plan) for plan in plans]
        if options.label_init == "teacher":
            networks = [teacher.network(ctx.facts, ctx.runtime) for teacher in teachers]
            values = torch.stack([self._values(n, condensed.images, ctx) for n in networks])
        else:
            own = pooled_shape(ctx.fresh_network("label_shape"), options.layer, self.learned_form)
            shape = (options.labels_per_image, len(condensed), *own)
            values = torch.randn(shape, generator=ctx.streams.generator("noise_labels"))
        digest = "+".join(plan.digest(ctx.facts.fingerprint) for plan in plans)
        accuracy = sum(teacher.train_accuracy for teacher in teachers) / max(len(teachers), 1)
        return FeatureState(
            values=values,
            start=values.clone(),
            velocity=torch.zeros_like(values),
            images=condensed.images,
            image_velocity=torch.zeros_like(condensed.images),
            network={},
            gradient_sizes=[],
            pupils=nobody(values, options, ctx) if options.learning == "unrolled" else {},
            teacher=digest or "noise",
            teacher_accuracy=accuracy,
        )

    def step(
        self, state: FeatureState, condensed: CondensedSet, number: int, ctx: Context
    ) -> Metrics:
        if self.options.learning == "distribution_matching":
            return self._match_means(state, ctx)
        if self.options.learning == "unrolled":
            return self._unroll(state, condensed, number, ctx)
        iteration, later = self.options.position(number)
        network = self._network(iteration, ctx)
        if later:
            network.load_state_dict(state.network)
        freeze_batch_norm(network, number, ctx)
        loss = self._update(state, network, number, ctx)
        if later < self.options.outer_loops - 1:
            streams = ctx.streams.child("label_inner", number)
            # Rounded to what will be stored only at the end: a step may be smaller than a level.
            labels = self._combined(state.values, state)
            labelled = CondensedSet(state.images, condensed.labels, (labels,))
            train_between_updates(network, labelled, self.options, streams, ctx.runtime)
            state.network = network_state(network)
        else:
            state.network = {}
        return {"loss": loss} | self._drift(state)

    def assigned(self, state: FeatureState) -> FeatureLabels:
        return self._labels(state.start, state)

    def unaided(self) -> Self:
        return self

    def finish(self, state: FeatureState) -> Enrichment:
        metrics = self._drift(state)
        if teachers_of(self.component):
            metrics["teacher_train_accuracy"] = state.teacher_accuracy
        images = state.images if tunes_images(self.component) else None
        return Enrichment(self._labels(state.values, state), metrics, images)

    def _sources(self, ctx: Context) -> list[TrainingPlan]:
        return [self.options.plan(ctx, member) for member in teachers_of(self.component)]

    def _trained_networks(self, ctx: Context) -> list[TrainingPlan]:
        return [self.options.plan(ctx, member) for member in networks_matched_at(self.component)]

    def _network(self, iteration: int, ctx: Context) -> Network:
        pool_of_plans = self._trained_networks(ctx)
        if not pool_of_plans:
            return ctx.fresh_network("label_network", iteration)
        plan = pool_of_plans[iteration % len(pool_of_plans)]
        return ctx.trained_network(plan).network(ctx.facts, ctx.runtime).train()

    def _values(self, network: Network, images: Tensor, ctx: Context) -> Tensor:
        view = (self.options.layer, self.learned_form, self.pooling)
        return pooled_features(network, images, *view, ctx).contiguous()

    def _match_means(self, state: FeatureState, ctx: Context) -> Metrics:
        """Give each of the N labels its own teacher's class means."""
        view = (self.options.layer, self.learned_form, self.pooling)
        moved, before = [], 0.0
        for plan, values in zip(self._sources(ctx), state.values, strict=True):
            network = ctx.trained_network(plan).network(ctx.facts, ctx.runtime)
            means = class_means(network, *view, ctx)
            own = values.view(len(means), -1, *values.shape[1:]).mean(1)
            before += float((own - means).square().sum()) / len(state.values)
            moved.append(with_means(values, means))
        state.values = torch.stack(moved)
        return {"loss": before} | self._drift(state)

    def _unroll(
        self, state: FeatureState, condensed: CondensedSet, number: int, ctx: Context
    ) -> Metrics:
        course = Course.on(condensed, lambda values: self._combined(values, state), ctx)
        found = update(state.values, state.start, state.pupils, number, course, self.options, ctx)
        state.values, state.pupils = found.values, found.state
        return {"loss": found.loss} | self._drift(state)

    def _labels(self, values: Tensor, state: FeatureState) -> FeatureLabels:
        """Labels as students get them: N combined, pooled, and as they will be stored."""
        made = self._combined(values, state)
        stored = as_stored(made.values.contiguous().cpu(), self.options.storage)
        return replace(made, values=stored)

    def _combined(self, values: Tensor, state: FeatureState) -> FeatureLabels:
        """N labels as one, or side by side, and pooled; differentiable in ``values``."""
        options = self.options
        apart = options.combine == "random" and options.labels_per_image > 1
        found = values.transpose(0, 1) if apart else values.mean(0)
        if self.learned_form != self.labels.form:
            flat = pool(found.flatten(0, -4), self.labels.form, self.pooling)
            found = flat.view(*found.shape[:-3], *flat.shape[1:])
        settings = LabelSettings(
            layer=options.layer,
            pooling=self.pooling,
            storage=options.storage,
            regression_weight=options.regression_weight,
            task_weight=options.task_weight if self.labels.form == "map" else 0.0,
            contrast_weight=options.contrast_weight,
            channel_weight=options.channel_weight,
            teacher=state.teacher,
        )
        return self.labels(found, settings)

    def _drift(self, state: FeatureState) -> Metrics:
        """How far learning moved the labels as students get them; nothing if they began at zero."""
        ends = (self._combined(values, state).values for values in (state.values, state.start))
        found = drift(*ends)
        return {} if found is None else {"label_drift": found}

    def _update(self, state: FeatureState, network: Network, number: int, ctx: Context) -> float:
        """One step on the labels, and on the images where they are tuned.

        Both gradients are taken at the same images and labels. Where they alternate, the paper's
        Algorithm 1 moves the images first and takes the labels' gradient at the moved ones.
        """
        device, per_class = ctx.runtime.device, len(state.images) // ctx.facts.num_classes
        images = sent(state.images, device).split(per_class)
        values = [sent(own, device).split(per_class) for own in state.values]

        def match(label: int) -> list[Match]:
            real = real_gradients(network, label, number, self.options.real_batch, ctx)
            own = [each[label] for each in values]
            return self._match_class(network, images[label], own, label, real)

        # One level for all threads: it belongs to the process, not to the thread that opens it.
        with forward_ad.dual_level():
            by_class = ctx.runtime.map(match, range(ctx.facts.num_classes))
        by_label = zip(*by_class, strict=True)
        self._move_labels(state, [torch.cat([m.labels for m in own]) for own in by_label])
        if tunes_images(self.component):
            parts = [torch.stack([_present(m.images) for m in own]).mean(0) for own in by_class]
            self._move_images(state, torch.cat(parts))
        return float(sum(found.value for own in by_class for found in own)) / len(values)

    def _match_class(
        self, network: Network, images: Tensor, values: list[Tensor], label: int, real: list[Tensor]
    ) -> list[Match]:
        """Each of the N labels of one class matched on its own, against the same real gradient."""
        terms = self._terms()
        joint = self.options.schedule == "joint"
        if joint or terms.task_matched:
            found = [match_with_images(network, images, v, label, real, terms) for v in values]
        else:
            found = [match_labels(network, images, v, label, real, terms) for v in values]
        if self.options.schedule == "alternating":
            for_images = match_images(network, images, label, real)[1]
            found = [each._replace(images=for_images) for each in found]
        return found

    def _terms(self) -> LabelTerms:
        return LabelTerms(
            layer=self.options.layer,
            form=self.learned_form,
            pooling=self.pooling,
            regression_weight=self.options.regression_weight,
            task_weight=self.options.label_task_weight,
            task_matched=self.options.task_term == "matched",
        )

    def _move_labels(self, state: FeatureState, gradients: list[Tensor]) -> None:
        # In plain order, as a checkpoint stores it: sums over another order round differently.
        gradient = torch.stack(gradients).cpu().contiguous()
        if len(state.gradient_sizes) < STEPS_THAT_SET_THE_RATE:
            state.gradient_sizes.append(float(gradient.square().mean().sqrt()))
        state.velocity = self.options.label_momentum * state.velocity + gradient
        state.values = state.values - self._label_rate(state) * state.velocity

    def _label_rate(self, state: FeatureState) -> float:
        if self.options.label_step == "fixed":
            return self.options.label_learning_rate
        typical = median(state.gradient_sizes)
        size = float(state.start.square().mean().sqrt())
        return RELATIVE_STEP * size / typical if typical else 0.0

    def _move_images(self, state: FeatureState, gradient: Tensor) -> None:
        options = self.options
        state.image_velocity = options.tuned_image_momentum * state.image_velocity + gradient.cpu()
        state.images = state.images - options.tuned_image_learning_rate * state.image_velocity


def _present(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient
