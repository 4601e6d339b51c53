"""Training of a network on the real data, and what that training tells about each image.

Teachers of privileged labels, proxies of coreset selection and pools of matching methods are all
trained here, an epoch at a time; ``prepared`` keeps what comes out.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dcpi_core.compute import Runtime, sent
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.networks import Network, build
from dcpi_core.ops.augment import augment
from dcpi_core.ops.last_layer import errors
from dcpi_core.ops.parameters import on_host
from dcpi_core.rng import Streams
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.protocols import Augmentation
from dcpi_core.training import apply_gradients, gradients, sgd, trainable

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

    def digest(self, data: str) -> str:
        """Address of the result on a dataset, told by its fingerprint or ``seen_as``."""
        text = json.dumps({"plan": asdict(self), "data": data, "format": 2}, sort_keys=True)
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
        return _fresh(self.plan, facts).to(runtime.device, non_blocking=True).eval()

    def network(self, facts: DatasetFacts, runtime: Runtime) -> Network:
        """The network itself, in evaluation mode."""
        network = _fresh(self.plan, facts)
        network.load_state_dict(self.parameters)
        return network.to(runtime.device, non_blocking=True).eval()


@dataclass
class Run:
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
    """Of each image of a batch just before its step, (n,): on the device until the epoch is over.

    Whether it was classified correctly, and the lengths of its error and last-layer gradient.
    """

    right: Tensor
    error: Tensor
    gradient: Tensor


class Trainer:
    """Takes a run from epoch to epoch; a new one goes on from the run's state to the same end."""

    def __init__(
        self, plan: TrainingPlan, train: Split, facts: DatasetFacts, runtime: Runtime, run: Run
    ) -> None:
        self.plan, self.train, self.facts, self.runtime, self.run = plan, train, facts, runtime, run
        self.streams = _streams(plan)
        self.network = _fresh(plan, facts)
        self.network.load_state_dict(run.parameters)
        self.network.to(runtime.device, non_blocking=True)
        self.parameters = trainable(self.network)
        self.optimiser = sgd(self.parameters, plan.learning_rate, plan.momentum, plan.weight_decay)
        for name, parameter in self.network.named_parameters():
            if name in run.velocity:
                velocity = sent(run.velocity[name], runtime.device)
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
        steps = self.plan.steps_per_epoch(len(self.train))
        total = steps * self.plan.total_epochs(len(self.train))
        seen: list[_Seen] = []
        for number, index in enumerate(order.split(size)):
            seen.append(self._step(index, number))
            if on_step is not None:
                on_step(run.epoch * steps + number + 1, total, f"training {self.plan.network}")
        self._note(order, _Seen(*(torch.cat(parts).cpu() for parts in zip(*seen, strict=True))))
        run.epoch += 1
        run.parameters = on_host(self.network.state_dict())
        run.velocity = on_host(
            {
                name: self.optimiser.state[p]["momentum_buffer"]
                for name, p in self.network.named_parameters()
                if "momentum_buffer" in self.optimiser.state[p]
            }
        )

    def _step(self, index: Tensor, number: int) -> _Seen:
        """Optimiser step ``number`` of the epoch; returns what the network said before it."""
        device = self.runtime.device
        view = self.streams.generator("augment", self.run.epoch, number)
        images = normalise(sent(self.train.images[index], device), self.facts)
        images = augment(images, self.plan.augmentation, view)
        labels = sent(self.train.labels[index], device)
        # Read first: the step changes the layers between the features and the logits.
        found, batch = gradients(self.network, images, labels, self.runtime)
        with torch.no_grad():
            inputs = self.network.last_inputs(batch.features)
        apply_gradients(self.parameters, self.optimiser, found)
        error = errors(batch.logits, labels).norm(dim=1)
        gradient = error * (1 + inputs.double().square().sum(1)).sqrt()
        return _Seen(batch.logits.argmax(1) == labels, error, gradient)

    def _note(self, order: Tensor, seen: _Seen) -> None:
        """What an epoch showed of every image, each of which came once, in ``order``."""
        run = self.run
        run.train_accuracy = int(seen.right.sum()) / len(self.train)
        run.forgetting[order] += (run.correct_before[order] & ~seen.right).long()
        run.correct_before[order] = seen.right
        run.learned[order] |= seen.right
        if run.epoch in self.plan.early_epochs(len(self.train)):
            run.el2n[order] += seen.error
            run.grand[order] += seen.gradient


def _streams(plan: TrainingPlan) -> Streams:
    return Streams(plan.seed).child("prepared", plan.network, plan.member)


def _fresh(plan: TrainingPlan, facts: DatasetFacts) -> Network:
    """The network before training.

    Even where its weights are replaced at once, making it draws from the global generator, which
    other threads may be using: hence the guarded block.
    """
    with _streams(plan).initialisation("network"):
        return build(plan.network, facts.channels, facts.num_classes, (facts.height, facts.width))


def start(plan: TrainingPlan, train: Split, facts: DatasetFacts) -> Run:
    """The state before the first epoch."""
    network = _fresh(plan, facts)
    count = len(train)
    return Run(
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
