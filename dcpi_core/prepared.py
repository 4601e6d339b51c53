"""Prepared assets: networks trained on the real data, made once and reused by every later job.

Teachers of privileged labels and proxies of coreset selection are the same thing: a network
trained for some epochs on the whole training set, together with what the training told about each
image. What the finished network says of every image, which coreset rules select by, is an asset of
its own. An asset is addressed by the digest of everything that determines it, so two jobs that
need the same teacher share one file.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from dcpi_core.checkpoint import below, load_kept, save_tensors
from dcpi_core.code import code_digest
from dcpi_core.compute import Runtime, sent
from dcpi_core.datasets.base import Split, normalise
from dcpi_core.real_training import (
    OnEpochStep,
    Run,
    TrainedNetwork,
    Trainer,
    TrainingPlan,
    start,
)
from dcpi_core.signals import Signals, outputs_of
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.training import require_finite

OBSERVED_AT_ONCE = 1024  # images, while signals are computed


class Assets:
    """Trained networks and their signals by digest, in one directory.

    Safe to share between jobs and processes: files appear whole or not at all.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def trained_network(
        self,
        plan: TrainingPlan,
        train: Split,
        facts: DatasetFacts,
        runtime: Runtime,
        on_step: OnEpochStep | None = None,
    ) -> TrainedNetwork:
        """Load the network of ``plan``, or train it (resuming where an earlier try stopped).

        Raises:
            TrainingDiverged: a parameter became NaN or infinite. The epoch is not kept.
        """
        done = self._file(plan, facts, runtime, "safetensors")
        partial = self._file(plan, facts, runtime, "partial")
        run = _load(done)
        if run is None:
            run = _load(partial) or start(plan, train, facts)
            trainer = Trainer(plan, train, facts, runtime, run)
            while run.epoch < plan.total_epochs(len(train)):
                trainer.epoch(on_step)
                require_finite(trainer.network, f"training of {plan.network} on real images")
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
        stored = load_kept(path)
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
                yield normalise(sent(part, runtime.device), facts)
                if on_step is not None:
                    on_step(number + 1, len(parts), f"signals of {plan.network}")

        made = outputs_of(trained.network(facts, runtime), batches(), runtime)
        observed = (trained.forgetting, trained.learned, trained.el2n, trained.grand)
        return Signals(train.labels, *made, *observed)

    def _file(self, plan: TrainingPlan, facts: DatasetFacts, runtime: Runtime, suffix: str) -> Path:
        own = hashlib.sha256(f"{plan.digest(facts.seen_as)} {code_digest()}".encode())
        # Kept apart by kind of device: what a GPU trained is not, to the bit, what a CPU trains.
        return self.root / runtime.device.type / f"{own.hexdigest()}.{suffix}"


def _save(path: Path, run: Run) -> None:
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


def _load(path: Path) -> Run | None:
    """The training in this file, if there is one."""
    found = load_kept(path)
    if found is None:
        return None
    tensors, numbers = found
    return Run(
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
