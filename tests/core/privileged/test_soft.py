import pytest
import torch

from dcpi_core.condensed import CondensedSet
from dcpi_core.privileged.soft import Soft, SoftLabels, SoftOptions, logarithms
from tests.core.problems import blobs, context

OPTIONS = {"teacher_epochs": 2, "teacher_min_steps": 0}


def test_soft_labels_are_the_teachers_probabilities(tmp_path):
    ctx = context(blobs(), tmp_path)
    condensed = CondensedSet(ctx.normalised(torch.arange(6)), torch.zeros(6, dtype=torch.int64))
    kind = Soft(SoftOptions(**OPTIONS, temperature=2.0))
    made = kind.finish(kind.init(condensed, ctx))
    labels, metrics = made.labels, made.metrics
    trained = ctx.trained_network(kind.needs(ctx)[0])
    with torch.no_grad():
        logits = trained.network(ctx.facts, ctx.runtime)(condensed.images)
    torch.testing.assert_close(labels.probabilities, torch.softmax(logits / 2.0, dim=1))
    assert metrics["teacher_train_accuracy"] == trained.train_accuracy
    assert metrics["teacher_agreement"] == float((logits.argmax(1) == 0).double().mean())
    assert torch.equal(labels.as_values(), labels.probabilities)
    assert torch.equal(
        labels.with_values(labels.as_values() / 2).probabilities * 2, labels.probabilities
    )
    again = SoftLabels.restore(*labels.stored())
    assert torch.equal(again.probabilities, labels.probabilities)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_share_of_the_hard_label(tmp_path, weight):
    ctx = context(blobs(), tmp_path)
    condensed = CondensedSet(ctx.normalised(torch.arange(6)), torch.tensor([0, 1, 2, 0, 1, 2]))
    found = [
        Soft(SoftOptions(**OPTIONS, hard_label_weight=own)).init(condensed, ctx).probabilities
        for own in (0.0, weight)
    ]
    hard = torch.eye(3)[condensed.labels]
    torch.testing.assert_close(found[1], (1 - weight) * found[0] + weight * hard)
    torch.testing.assert_close(found[1].sum(1), torch.ones(6))


def test_learned_through_training_they_stay_probabilities_and_students_lose_less(tmp_path):
    ctx = context(blobs(), tmp_path)
    condensed = CondensedSet(ctx.normalised(torch.arange(0, 60, 10)), ctx.hard_labels())
    learning = {"unrolled_updates": 30, "unrolled_window": 3, "unrolled_real_images": 12}
    kind = Soft(SoftOptions(**OPTIONS, learning="unrolled", unrolled_rate=0.1, **learning))
    state = kind.init(condensed, ctx)
    before = kind.assigned(state).probabilities
    told = [kind.step(state, condensed, n, ctx) for n in range(kind.total_steps(ctx))]
    losses = [found["loss"] for found in told]
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])  # each of eight students twice
    made = kind.finish(state)
    torch.testing.assert_close(made.labels.probabilities.sum(1), torch.ones(6))
    assert bool((made.labels.probabilities > 0).all())
    assert made.metrics["label_drift"] == told[-1]["label_drift"] > 0.02
    assert torch.equal(kind.assigned(state).probabilities, before)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_learning_starts_where_the_labels_are(classes):
    """However many classes there are, and however sure the teacher is."""
    certain = torch.eye(classes)[:2]
    unsure = torch.full((2, classes), 1 / classes)
    probabilities = torch.cat([certain, unsure, certain.lerp(unsure, 0.3)])
    found = logarithms(probabilities)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found.softmax(1), probabilities, rtol=0, atol=1.1e-3)


def test_learning_may_start_where_the_teacher_is_certain(tmp_path):
    """Nothing is the logarithm of zero: a hard label can be learned on from."""
    ctx = context(blobs(), tmp_path)
    condensed = CondensedSet(ctx.normalised(torch.arange(0, 60, 10)), ctx.hard_labels())
    options = {"learning": "unrolled", "hard_label_weight": 1.0, "unrolled_updates": 1}
    kind = Soft(SoftOptions(**OPTIONS, **options))
    state = kind.init(condensed, ctx)
    kind.step(state, condensed, 0, ctx)
    assert bool(torch.isfinite(kind.finish(state).labels.probabilities).all())
