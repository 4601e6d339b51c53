import pytest
import torch

from dcpi_core.condensed import CondensedSet
from dcpi_core.privileged.soft import Soft, SoftLabels, SoftOptions
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
