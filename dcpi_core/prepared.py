"""Prepared assets: networks trained on the real data, made once and reused by every later job.

Teachers of privileged labels and proxies of coreset selection are the same thing: a network
trained for some epochs on the whole training set, together with what the training told about each
image. What the finished network says of every image, which coreset rules select by, is an asset of
its own. An asset is addressed by the digest of everything that determines it, so two jobs that
need the same teacher share one file.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from dcpi_core.checkpoint import below, load_tensors, save_tensors
from dcpi_core.compute import Runtime
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.networks import Network, build
from dcpi_core.ops.augment import augment
from dcpi_core.ops.last_layer import errors
from dcpi_core.rng import Streams
from dcpi_core.signals import Signals, outputs_of
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import CheckpointError
from dcpi_core.spec.protocols import Augmentation
from dcpi_core.training import apply_gradients, gradients, sgd, trainable

logger = logging.getLogger(__name__)

OBSERVED_AT_ONCE = 1024  # images, while signals are computed

OnEpochStep = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being made); may raise to stop."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained on real data.

    ``min_steps`` raises the number of epochs on small datasets, where a few epochs are only a
    handful of steps and the network would have learned nothing. The learning rate falls to a fifth
    once each share of the epochs in ``falls`` is over.
    """

    network: str
    epochs: int
    min_steps: int = 0
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    seed: int = 0
    member: int = 0
    falls: tuple[float, ...] = ()
    augmentation: Augmentation | Literal["colour_crop"] = "none"

    def rate_in(self, epoch: int, num_images: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        total = self.total_epochs(num_images)
        return self.learning_rate * float(
            0.2 ** sum(epoch >= share * total for share in self.falls)
        )

    def total_epochs(self, num_images: int) -> int:
        """Epochs after ``min_steps`` has been honoured."""
        return max(self.epochs, -(-self.min_steps // self.steps_per_epoch(num_images)))

    def steps_per_epoch(self, num_images: int) -> int:
        return -(-num_images // self.batch_size)

    def early_epochs(self, num_images: int) -> range:
        """Epochs, counted from 0, over which the early scores EL2N and GraNd are averaged.

        The first half without the first epoch, in which the network is still close to its
        initialisation and the scores say more of the input's norm than of its difficulty. A
        training of one epoch has only that one.
        """
        total = self.total_epochs(num_images)
        return range(1, 1 + max(1, (total - 1) // 2)) if total > 1 else range(1)

    def digest(self, fingerprint: str) -> str:
        """Address of the result on the dataset with this fingerprint."""
        text = json.dumps({"plan": asdict(self), "data": fingerprint, "format": 2}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class TrainedNetwork:
    """A network trained on real data and what its training observed.

    Attributes:
        parameters: its state dictionary.
        forgetting: (N,) times each training image went from right to wrong (Toneva et al. 2019).
        learned: (N,) whether it was ever classified correctly.
        el2n: (N,) length of the error softmax - onehot, seen just before the image's step and
            averaged over the early epochs (Paul et al., NeurIPS 2021).
        grand: (N,) likewise the length of the gradient of the last linear layer.
        train_accuracy: running accuracy over the last epoch, on training data.
    """

    plan: TrainingPlan
    parameters: dict[str, Tensor]
    forgetting: Tensor
    learned: Tensor
    el2n: Tensor
    grand: Tensor
    train_accuracy: float

    def untrained(self, facts: DatasetFacts, runtime: Runtime) -> Network:
        """The network as it was before its training, in evaluation mode."""
        return _fresh(self.plan, facts).to(runtime.device).eval()

    def network(self, facts: DatasetFacts, runtime: Runtime) -> Network:
        """The network itself, in evaluation mode."""
        network = _fresh(self.plan, facts)
        network.load_state_dict(self.parameters)
        return network.to(runtime.device).eval()


@dataclass
class _Run:
    """State of a training, saved after every epoch."""

    epoch: int
    parameters: dict[str, Tensor]
    velocity: dict[str, Tensor]
    forgetting: Tensor
    learned: Tensor
    el2n: Tensor  # a sum over the early epochs so far; so is the next
    grand: Tensor
    correct_before: Tensor
    train_accuracy: float


class _Seen(NamedTuple):
    """Logits (n, K) and inputs (n, D) of the last layer, just before a step."""

    logits: Tensor
    inputs: Tensor


class Assets:
    """Trained networks and their signals by digest, in one directory.

    Safe to share between jobs and processes: files appear whole or not at all.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def trained_network(
        self,
        plan: TrainingPlan,
        train: Split,
        facts: DatasetFacts,
        runtime: Runtime,
        on_step: OnEpochStep | None = None,
    ) -> TrainedNetwork:
        """Load the network of ``plan``, or train it (resuming where an earlier try stopped)."""
        done = self._file(plan, facts, runtime, "safetensors")
        partial = self._file(plan, facts, runtime, "partial")
        run = _load(done) or _load(partial) or _start(plan, train, facts)
        trainer = _Trainer(plan, train, facts, runtime, run)
        while run.epoch < plan.total_epochs(len(train)):
            trainer.epoch(on_step)
            finished = run.epoch == plan.total_epochs(len(train))
            _save(done if finished else partial, run)
        partial.unlink(missing_ok=True)
        early = len(plan.early_epochs(len(train)))
        return TrainedNetwork(
            plan=plan,
            parameters=run.parameters,
            forgetting=run.forgetting,
            learned=run.learned,
            el2n=run.el2n / early,
            grand=run.grand / early,
            train_accuracy=run.train_accuracy,
        )

    def signals(
        self,
        plan: TrainingPlan,
        train: Split,
        facts: DatasetFacts,
        runtime: Runtime,
        on_step: OnEpochStep | None = None,
    ) -> Signals:
        """Load what the network of ``plan`` says of every training image, or ask it once.

        Raises:
            TrainingDiverged: it says something that is not a number.
        """
        path = self._file(plan, facts, runtime, "signals")
        stored = _read(path)
        if stored is None:
            stored = self._observe(plan, train, facts, runtime, on_step).stored(), {}
            save_tensors(path, *stored)
        return Signals.restore(stored[0])

    def _observe(
        self,
        plan: TrainingPlan,
        train: Split,
        facts: DatasetFacts,
        runtime: Runtime,
        on_step: OnEpochStep | None,
    ) -> Signals:
        trained = self.trained_network(plan, train, facts, runtime, on_step)
        parts = train.images.split(OBSERVED_AT_ONCE)

        def batches() -> Iterator[Tensor]:
            for number, part in enumerate(parts):
                yield normalise(part, facts)
                if on_step is not None:
                    on_step(number + 1, len(parts), f"signals of {plan.network}")

        made = outputs_of(trained.network(facts, runtime), batches(), runtime)
        observed = (trained.forgetting, trained.learned, trained.el2n, trained.grand)
        return Signals(train.labels, *made, *observed)

    def _file(self, plan: TrainingPlan, facts: DatasetFacts, runtime: Runtime, suffix: str) -> Path:
        # Kept apart by kind of device: what a GPU trained is not, to the bit, what a CPU trains.
        return self.root / runtime.device.type / f"{plan.digest(facts.fingerprint)}.{suffix}"


class _Trainer:
    def __init__(
        self, plan: TrainingPlan, train: Split, facts: DatasetFacts, runtime: Runtime, run: _Run
    ) -> None:
        self.plan, self.train, self.facts, self.runtime, self.run = plan, train, facts, runtime, run
        self.streams = _streams(plan)
        self.network = _fresh(plan, facts).to(runtime.device)
        self.network.load_state_dict(run.parameters)
        self.parameters = trainable(self.network)
        self.optimiser = sgd(self.parameters, plan.learning_rate, plan.momentum, plan.weight_decay)
        for name, parameter in self.network.named_parameters():
            if name in run.velocity:
                velocity = run.velocity[name].to(runtime.device)
                self.optimiser.state[parameter]["momentum_buffer"] = velocity

    def epoch(self, on_step: OnEpochStep | None) -> None:
        """Train one epoch and bring ``run`` up to date."""
        run, size = self.run, self.plan.batch_size
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_in(run.epoch, len(self.train))
        order = torch.randperm(
            len(self.train), generator=self.streams.generator("order", run.epoch)
        )
        correct = 0
        steps = self.plan.steps_per_epoch(len(self.train))
        total = steps * self.plan.total_epochs(len(self.train))
        for number, index in enumerate(order.split(size)):
            seen = self._step(index, number)
            right = self._right(seen, index)
            correct += int(right.sum())
            run.forgetting[index] += (run.correct_before[index] & ~right).long()
            run.correct_before[index] = right
            run.learned[index] |= right
            if run.epoch in self.plan.early_epochs(len(self.train)):
                self._score(seen, index)
            if on_step is not None:
                on_step(run.epoch * steps + number + 1, total, f"training {self.plan.network}")
        run.epoch += 1
        run.train_accuracy = correct / len(self.train)
        run.parameters = {k: v.detach().cpu() for k, v in self.network.state_dict().items()}
        run.velocity = {
            name: self.optimiser.state[p]["momentum_buffer"].cpu()
            for name, p in self.network.named_parameters()
            if "momentum_buffer" in self.optimiser.state[p]
        }

    def _step(self, index: Tensor, number: int) -> _Seen:
        """Optimiser step ``number`` of the epoch; returns what the network said before it."""
        device = self.runtime.device
        view = self.streams.generator("augment", self.run.epoch, number)
        images = normalise(self.train.images[index], self.facts).to(device)
        images = augment(images, self.plan.augmentation, view)
        labels = self.train.labels[index].to(device)
        # Read first: the step changes the layers between the features and the logits.
        found, batch = gradients(self.network, images, labels, self.runtime)
        with torch.no_grad():
            inputs = self.network.last_inputs(batch.features)
        apply_gradients(self.parameters, self.optimiser, found)
        return _Seen(batch.logits.cpu(), inputs.cpu())

    def _right(self, seen: _Seen, index: Tensor) -> Tensor:
        return seen.logits.argmax(1) == self.train.labels[index]

    def _score(self, seen: _Seen, index: Tensor) -> None:
        """Add the lengths of the batch's errors and last-layer gradients to the early scores."""
        length = errors(seen.logits, self.train.labels[index]).norm(dim=1)
        self.run.el2n[index] += length
        self.run.grand[index] += length * (1 + seen.inputs.double().square().sum(1)).sqrt()


def _streams(plan: TrainingPlan) -> Streams:
    return Streams(plan.seed).child("prepared", plan.network, plan.member)


def _fresh(plan: TrainingPlan, facts: DatasetFacts) -> Network:
    """The network before training.

    Even where its weights are replaced at once, making it draws from the global generator, which
    other threads may be using: hence the guarded block.
    """
    with _streams(plan).initialisation("network"):
        return build(plan.network, facts.channels, facts.num_classes, (facts.height, facts.width))


def _start(plan: TrainingPlan, train: Split, facts: DatasetFacts) -> _Run:
    network = _fresh(plan, facts)
    count = len(train)
    return _Run(
        epoch=0,
        parameters={name: value.clone() for name, value in network.state_dict().items()},
        velocity={},
        forgetting=torch.zeros(count, dtype=torch.int64),
        learned=torch.zeros(count, dtype=torch.bool),
        el2n=torch.zeros(count, dtype=torch.float64),
        grand=torch.zeros(count, dtype=torch.float64),
        correct_before=torch.zeros(count, dtype=torch.bool),
        train_accuracy=0.0,
    )


def _save(path: Path, run: _Run) -> None:
    tensors = {
        "forgetting": run.forgetting,
        "learned": run.learned,
        "el2n": run.el2n,
        "grand": run.grand,
        "correct_before": run.correct_before,
    }
    tensors |= {f"parameters.{name}": value for name, value in run.parameters.items()}
    tensors |= {f"velocity.{name}": value for name, value in run.velocity.items()}
    save_tensors(path, tensors, {"epoch": run.epoch, "train_accuracy": run.train_accuracy})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What is in this file; None if there is none, or none that can be read: it is remade."""
    if not path.exists():
        return None
    try:
        return load_tensors(path)
    except CheckpointError as error:
        logger.warning("made again: %s", error)
        return None


def _load(path: Path) -> _Run | None:
    """The training in this file, if there is one."""
    found = _read(path)
    if found is None:
        return None
    tensors, numbers = found
    return _Run(
        epoch=numbers["epoch"],
        parameters=below("parameters.", tensors),
        velocity=below("velocity.", tensors),
        forgetting=tensors["forgetting"],
        learned=tensors["learned"],
        el2n=tensors["el2n"],
        grand=tensors["grand"],
        correct_before=tensors["correct_before"],
        train_accuracy=numbers["train_accuracy"],
    )
