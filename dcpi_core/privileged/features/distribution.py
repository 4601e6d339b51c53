"""Labels learned by matching the feature distribution: class means, in the sense of DM.

DM (Zhao and Bilen, WACV 2023) asks that mean features of synthetic images equal those of the real
class. Asked of the labels themselves, in the feature space of their teacher, with each label as
near as possible to what the teacher makes of its image, a_i:

    minimise  sum_i || f*_i - a_i ||^2   subject to   mean_i f*_i = m_c

where m_c is the mean of the teacher's features over all real images of class c. The solution is
``f*_i = a_i + (m_c - mean_j a_j)``: all labels of a class move by the same amount, and with one
image per class the label is the class mean. That is one exact step, so no gradient is descended.

The networks of DM are random and fresh in every step. Labels cannot have that: what a channel of a
fresh network means is chance, so the mean over such networks says nothing about channels of a
label.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from dcpi_core.compute import sent
from dcpi_core.context import Context
from dcpi_core.networks import Layer, Network
from dcpi_core.ops.pooling import Form, Pooling, pool


@torch.no_grad()
def pooled_features(
    network: Network, images: Tensor, layer: Layer, form: Form, pooling: Pooling, ctx: Context
) -> Tensor:
    """What labels of the images would be if this network assigned them.

    Returns:
        (n, F, h, w) or pooled, on the CPU: there may be any number of images.
    """
    pieces = _pooled_pieces(network, images, layer, form, pooling, ctx)
    return torch.cat([piece.cpu() for piece in pieces])


def _pooled_pieces(
    network: Network, images: Tensor, layer: Layer, form: Form, pooling: Pooling, ctx: Context
) -> Iterator[Tensor]:
    """The same piece by piece, each on the device."""
    number = network.layer_number(layer)
    for piece in ctx.runtime.for_whole_sets.chunks(len(images)):
        seen = sent(images[piece], ctx.runtime.device)
        yield pool(network.features(seen, number), form, pooling)


def class_means(
    network: Network, layer: Layer, form: Form, pooling: Pooling, ctx: Context
) -> Tensor:
    """Mean features of all real training images of each class, (K, F, h, w) or pooled; CPU."""

    @torch.no_grad()  # in here, because every thread has a mode of its own
    def of_class(label: int) -> Tensor:
        members = ctx.train.of_class(label)
        sums = [
            piece.double().sum(0)
            for batch in ctx.batches(members)
            for piece in _pooled_pieces(network, batch, layer, form, pooling, ctx)
        ]
        return (torch.stack(sums).sum(0) / len(members)).float().cpu()

    return torch.stack(ctx.runtime.map(of_class, range(ctx.facts.num_classes)))


def with_means(values: Tensor, means: Tensor) -> Tensor:
    """The labels nearest to ``values`` whose mean over each class is the one in ``means``.

    Args:
        values: (K * n, ...), class-contiguous, as many labels of every class.
        means: (K, ...).
    """
    by_class = values.view(len(means), -1, *values.shape[1:])
    shift = means - by_class.mean(1)
    return (by_class + shift.unsqueeze(1)).view_as(values)
