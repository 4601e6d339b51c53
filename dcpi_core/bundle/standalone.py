"""Train on this condensed dataset and compare with its report. Needs torch, numpy, safetensors.

python train.py --test test.npz          # uint8 images (n, C, H, W) and int64 labels (n,)
python train.py --test test.safetensors  # tensors test_images and test_labels
"""

# ruff: noqa: T201, TID251
# mypy: disable-error-code="no-untyped-call, no-any-return"

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
LAYERS_PER_BLOCK = 4
LAYERS = {"first": 0, "second": 1, "final": -1}
FORMS = {"feature": (), "attention_spatial": (1,), "attention_channel": (2, 3)}  # pooled axes
OPERATIONS = ("colour", "crop", "cutout", "flip", "scale", "rotate")


class ConvNet(nn.Module):
    """Blocks of convolution, instance norm, ReLU and average pooling, then one linear layer."""

    def __init__(self, depth: int, network: dict[str, Any]) -> None:
        super().__init__()
        width = network["options"].get("width", 128)
        channels = network["in_channels"]
        # The literature pads gray 28 x 28 images to 32 x 32 in the first convolution.
        gray = channels == 1 and network["image_size"] == [28, 28]
        padding = [3 if gray else 1] + [1] * (depth - 1)
        layers: list[nn.Module] = []
        for pad in padding:
            layers += [nn.Conv2d(channels, width, 3, padding=pad), nn.GroupNorm(width, width)]
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        self.blocks = nn.Sequential(*layers)
        with torch.no_grad():
            probe = self.blocks(torch.zeros(1, network["in_channels"], *network["image_size"]))
        self.classifier = nn.Linear(probe.numel(), network["num_classes"])

    def maps(self, images: Tensor) -> list[Tensor]:
        """The map after every block's pooling."""
        found = [images]
        for start in range(0, len(self.blocks), LAYERS_PER_BLOCK):
            found.append(self.blocks[start : start + LAYERS_PER_BLOCK](found[-1]))
        return found[1:]

    def classify(self, features: Tensor, block: int = -1) -> Tensor:
        """Logits from the map after a block, by default the last."""
        done = len(self.blocks) if block < 0 else (block + 1) * LAYERS_PER_BLOCK
        return self.classifier(self.blocks[done:](features).flatten(1))


def read_bundle() -> tuple[dict[str, Any], dict[str, Tensor], dict[str, dict[str, Any]]]:
    """The manifest, the tensors, and the settings of each kind of privileged labels."""
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    raw = (HERE / "data.safetensors").read_bytes()
    listed = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    if hashlib.sha256(raw).hexdigest() != listed["data.safetensors"]:
        sys.exit("data.safetensors does not match its sha256 in manifest.json")
    privileged = {part["type"]: part["settings"] for part in manifest["privileged"]}
    unknown = privileged.keys() - {"soft", *FORMS}
    if unknown or any(settings.get("contrast_weight") for settings in privileged.values()):
        sys.exit("train.py does not know these labels: use `dcpi train`")
    return manifest, decoded(load(raw)), privileged


def decoded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Label values as float32: stored as such, as float16, or as one of 256 levels per image."""
    for name in [name for name in tensors if name.endswith(".values")]:
        values, kind = tensors[name], name.removesuffix(".values")
        if values.dtype == torch.int8:
            shape = (-1,) + (1,) * (values.dim() - 1)
            scale, low = (tensors.pop(f"{kind}.{part}").float() for part in ("scale", "low"))
            values = (values.float() + 128) * scale.view(shape) + low.view(shape)
        tensors[name] = values.float()
    return tensors


def build(network: dict[str, Any]) -> ConvNet:
    """The student of the recipe with torch's default initialisation."""
    found = re.fullmatch(r"ConvNetD(\d+)", network["name"])
    if found is None:
        sys.exit(f"train.py builds ConvNetD<depth> only: use `dcpi train` for {network['name']}")
    return ConvNet(int(found[1]), network)


@torch.no_grad()
def require_same_shapes(
    network: ConvNet, data: dict[str, Tensor], privileged: dict[str, dict[str, Any]]
) -> None:
    """Exit where labels were made for features of another shape, which this script cannot align."""
    maps = network.maps(data["images"][:1])
    for kind in privileged.keys() & FORMS.keys():
        settings = privileged[kind]
        own = pooled(maps[LAYERS[settings["layer"]]], kind, settings["pooling"]).shape[1:]
        made = data[f"{kind}.values"].shape[-3:]
        if own != made:
            shapes = f"the student's features are {tuple(own)}, the {kind} labels {tuple(made)}"
            sys.exit(f"train.py does not align these, use `dcpi train`: {shapes}")


def objective(
    network: ConvNet, batch: dict[str, Tensor], privileged: dict[str, dict[str, Any]]
) -> Tensor:
    """W * CE(logits, y) + lambda * MSE(features, f*) + beta * CE(classify(f*), y) + channels."""
    maps = network.maps(batch["images"])
    target = batch["soft.probabilities"] if "soft" in privileged else batch["labels"]
    own = F.cross_entropy(network.classify(maps[-1]), target, reduction="none")
    loss = (own * batch["weights"]).mean() if "weights" in batch else own.mean()
    for kind in privileged.keys() & FORMS.keys():
        settings, values = privileged[kind], batch[f"{kind}.values"]
        if values.dim() == 5:  # several labels for each image: one of them by chance
            rows = torch.arange(len(values), device=values.device)
            values = values[rows, torch.randint(values.shape[1], rows.shape, device=rows.device)]
        layer = LAYERS[settings["layer"]]
        found = pooled(maps[layer], kind, settings["pooling"])
        loss = loss + settings["regression_weight"] * F.mse_loss(found, values)
        if settings["task_weight"]:
            logits = network.classify(values, layer)
            loss = loss + settings["task_weight"] * F.cross_entropy(logits, batch["labels"])
        if settings.get("channel_weight"):
            if found.shape[1] == 1:  # a single channel is read over its pixels
                found, values = found.flatten(1), values.flatten(1)
            loss = loss + settings["channel_weight"] * F.cross_entropy(found, values.softmax(1))
    return loss


def pooled(features: Tensor, kind: str, pooling: str) -> Tensor:
    """A map as labels of this kind see it: whole, or pooled over channels or pixels."""
    axes = FORMS[kind]
    if not axes:
        return features
    return features.mean(axes, True) if pooling == "average" else features.amax(axes, True)


def flip_and_shift(images: Tensor) -> Tensor:
    """Each image flipped or not, and shifted by up to an eighth of its side; zeros come in."""
    reach = [max(side // 8, 1) for side in images.shape[2:]]
    found = []
    for image in images:
        down, right = (int(torch.randint(-most, most + 1, ())) for most in reach)
        seen = image.flip(2) if torch.rand(()) < 0.5 else image
        padded = F.pad(seen, (reach[1], reach[1], reach[0], reach[0]))
        top, left = reach[0] + down, reach[1] + right
        found.append(padded[:, top : top + image.shape[1], left : left + image.shape[2]])
    return torch.stack(found)


def siamese_augmentation(images: Tensor, operations: tuple[str, ...]) -> Tensor:
    """DSA in training: one operation for the batch, of another strength for each image."""
    count, size, device = len(images), images.shape[2:], images.device
    name = operations[int(torch.randint(len(operations), ()))]
    u = torch.rand(3, count, 1, 1, 1).to(device)
    if name == "colour":
        images = images + u[0] - 0.5
        gray = images.mean(1, keepdim=True)
        images = (images - gray) * (2 * u[1]) + gray
        mean = images.mean((1, 2, 3), keepdim=True)
        return (images - mean) * (u[2] + 0.5) + mean
    if name == "flip":
        return torch.where(u[0] < 0.5, images.flip(3), images)
    if name == "cutout":
        inside = []
        for axis, length in enumerate(size):
            side = int(length * 0.5 + 0.5)
            first = (u[axis, :, 0, 0] * (length + 1 - side % 2)).floor() - side // 2
            offset = torch.arange(length, device=device) - first
            inside.append((offset >= 0) & (offset < side))
        return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
    warp = torch.eye(2, 3, device=device).repeat(count, 1, 1)
    down, across = u[0].flatten(), u[1].flatten()
    if name == "crop":
        reach = [int(length * 0.125 + 0.5) for length in size]
        steps = [(v * (2 * r + 1)).floor() - r for v, r in zip((down, across), reach, strict=True)]
        warp[:, 1, 2], warp[:, 0, 2] = (2 * s / (n - 1) for s, n in zip(steps, size, strict=True))
    elif name == "scale":
        warp[:, 1, 1], warp[:, 0, 0] = (v * (1.2 - 1 / 1.2) + 1 / 1.2 for v in (down, across))
    else:
        angle = (2 * down - 1) * (torch.pi / 12)
        warp[:, 0, 0], warp[:, 1, 1] = angle.cos(), angle.cos()
        warp[:, 0, 1], warp[:, 1, 0] = -angle.sin(), angle.sin()
    grid = F.affine_grid(warp, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)


def augmented(images: Tensor, augmentation: str) -> Tensor:
    """A batch as the student sees it."""
    if augmentation == "flip_shift":
        return flip_and_shift(images)
    if augmentation in ("dsa", "dsa_no_flip"):
        skipped = "flip" if augmentation == "dsa_no_flip" else ""
        return siamese_augmentation(images, tuple(o for o in OPERATIONS if o != skipped))
    return images


def train(
    recipe: dict[str, Any], data: dict[str, Tensor], privileged: dict[str, dict[str, Any]]
) -> ConvNet:
    """One student, by the recipe of the manifest."""
    network = build(recipe["network"]).to(data["images"].device)
    settings, schedule = recipe["optimizer"], recipe["schedule"]
    momentum, decay, rate = settings["momentum"], settings["weight_decay"], settings["lr"]
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum, weight_decay=decay)
    for epoch in range(recipe["passes"]):
        order = torch.randperm(len(data["labels"])).to(data["images"].device)
        for index in order.split(recipe["batch_size"]):
            batch = {name: tensor[index] for name, tensor in data.items()}
            batch["images"] = augmented(batch["images"], recipe["augmentation"])
            optimizer.zero_grad()
            objective(network, batch, privileged).backward()
            optimizer.step()
        if epoch == schedule["after_epoch_index"]:
            # A new optimiser, as published: the momentum is lost with the old one.
            rate *= schedule["factor"]
            optimizer = torch.optim.SGD(network.parameters(), rate, momentum, weight_decay=decay)
    return network


@torch.no_grad()
def accuracy(network: ConvNet, images: Tensor, labels: Tensor) -> float:
    """Share of correctly classified test images."""
    pairs = zip(images.split(256), labels.split(256), strict=True)
    hits = sum(int((network.classify(network.maps(x)[-1]).argmax(1) == y).sum()) for x, y in pairs)
    return hits / len(labels)


def enlarged_tiles(data: dict[str, Tensor], factor: int) -> dict[str, Tensor]:
    """Every stored image as factor x factor images of their own, enlarged to full size.

    All else that there is for each image is stored for each tile already.
    """
    images = data["images"]
    count, channels, height, width = images.shape
    down, across = height // factor, width // factor
    cut = images[:, :, : down * factor, : across * factor]
    grid = cut.reshape(count, channels, factor, down, factor, across).permute(0, 4, 2, 1, 3, 5)
    tiles = grid.reshape(-1, channels, down, across)
    large = F.interpolate(tiles, (height, width), mode="bilinear", align_corners=False)
    return data | {"images": large, "labels": data["labels"].repeat_interleave(factor**2)}


def read_pixels(path: Path) -> tuple[Tensor, Tensor]:
    """uint8 test images and their labels. What begins as a zip is an .npz, whatever its name."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
        stream.seek(0)
        if zipped:
            with np.load(stream, allow_pickle=False) as archive:
                return torch.from_numpy(archive["images"]), torch.from_numpy(archive["labels"])
        tensors = load(stream.read())
    return tensors["test_images"], tensors["test_labels"]


def read_test(path: Path, network: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Test images and labels; exits unless the images are such as the students take."""
    try:
        images, labels = read_pixels(path)
    except Exception as error:
        raise SystemExit(f"{path} holds no test images: {error}") from error
    taken = (network["in_channels"], *network["image_size"])
    if images.dtype != torch.uint8 or images.shape[1:] != taken:
        found = f"{str(images.dtype).removeprefix('torch.')} images of {tuple(images.shape[1:])}"
        sys.exit(f"{path} has {found}; the students of this set take uint8 images of {taken}")
    return images, labels.long()


def normalised(images: Tensor, normalize: dict[str, list[float]]) -> Tensor:
    """Test images as the stored ones are."""
    mean, std = (torch.tensor(normalize[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return (images.float() / 255 - mean) / std


def summary(runs: list[float]) -> str:
    """Mean, standard deviation and raw runs in percent."""
    spread = stdev(runs) if len(runs) > 1 else 0.0
    raw = " ".join(f"{100 * run:.2f}" for run in runs)
    return f"{100 * fmean(runs):.2f} +- {100 * spread:.2f} % (n={len(runs)}: {raw})"


def main() -> None:
    """Train one student per seed and print the accuracies beside the reported ones."""
    parser = argparse.ArgumentParser(description="Train on this condensed dataset.")
    parser.add_argument("--test", type=Path, required=True, help="test.npz or *.safetensors")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the report")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    # The recipe is for float32; by default torch lets a GPU round convolutions to TF32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    manifest, tensors, privileged = read_bundle()
    recipe = manifest["recipe"]
    data = {k: v.to(args.device) for k, v in tensors.items() if k != "source_indices"}
    factor = manifest["images"].get("partition", 1)
    if factor > 1:
        data = enlarged_tiles(data, factor)
    pixels, labels = read_test(args.test, recipe["network"])
    images = normalised(pixels, manifest["preprocess"]["normalize"]).to(args.device)
    require_same_shapes(build(recipe["network"]).to(args.device), data, privileged)
    runs = []
    for seed in args.seeds or recipe["seeds"]:
        torch.manual_seed(seed)
        runs.append(accuracy(train(recipe, data, privileged), images, labels.to(args.device)))
        print(f"seed {seed}: {100 * runs[-1]:.2f} %", flush=True)
    print(f"measured: {summary(runs)}")
    if recipe["reported"]:
        print(f"reported: {summary(recipe['reported'])}")


if __name__ == "__main__":
    main()
