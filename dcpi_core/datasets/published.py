"""Facts about published datasets, and where their files come from. Needs no torch.

mean and std are those of the dataset condensation literature, so that accuracies compare; for
CIFAR-10 the std is not the pixels' (0.2470, 0.2435, 0.2616) but the mean over images.
"""

from dataclasses import dataclass
from typing import Any

from dcpi_core.datasets.download import RemoteFile
from dcpi_core.spec.dataset import DatasetFacts, License

_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_OSSCI = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_STANFORD = "http://ufldl.stanford.edu/housenumbers/"


@dataclass(frozen=True)
class Source:
    """How torchvision reads a dataset.

    Attributes:
        reader: its class in ``torchvision.datasets``.
        files: what is downloaded; torchvision unpacks it.
        split_argument: the reader's argument that chooses the split, and its two values.
        labels: the reader's attribute with the labels.
        channels_last: whether the reader's arrays are (N, H, W, C).
    """

    reader: str
    files: tuple[RemoteFile, ...]
    split_argument: tuple[str, Any, Any] = ("train", True, False)
    labels: str = "targets"
    channels_last: bool = False


CIFAR10 = DatasetFacts(
    name="cifar10",
    title="CIFAR-10",
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    train_per_class=(5000,) * 10,
    num_test=10000,
    channels=3,
    height=32,
    width=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    license=License(name="none stated by the authors", url=_TORONTO + "cifar.html"),
    homepage=_TORONTO + "cifar.html",
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
)

CIFAR100 = CIFAR10.model_copy(
    update={
        "name": "cifar100",
        "title": "CIFAR-100 (fine labels)",
        "classes": tuple(
            """
            apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
            butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
            couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
            house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
            motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
            pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
            rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
            sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
            turtle wardrobe whale willow_tree wolf woman worm
            """.split()  # noqa: SIM905  a hundred quoted lines would say less
        ),
        "train_per_class": (500,) * 100,
        "mean": (0.5071, 0.4866, 0.4409),
        "std": (0.2673, 0.2564, 0.2762),
    }
)

MNIST = DatasetFacts(
    name="mnist",
    title="MNIST handwritten digits",
    classes=tuple("0123456789"),
    train_per_class=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    num_test=10000,
    channels=1,
    height=28,
    width=28,
    mean=(0.1307,),
    std=(0.3081,),
    license=License(
        name="CC BY-SA 3.0",
        url="https://creativecommons.org/licenses/by-sa/3.0/",
        redistributable="yes",
    ),
    homepage="http://yann.lecun.com/exdb/mnist/",
    citation=(
        "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document "
        "Recognition. Proceedings of the IEEE 86(11), 1998"
    ),
)

FASHION_MNIST = MNIST.model_copy(
    update={
        "name": "fashion_mnist",
        "title": "Fashion-MNIST",
        "classes": (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        "train_per_class": (6000,) * 10,
        "mean": (0.2861,),
        "std": (0.3530,),
        "license": License(
            name="MIT",
            url="https://github.com/zalandoresearch/fashion-mnist/blob/master/LICENSE",
            redistributable="yes",
        ),
        "homepage": "https://github.com/zalandoresearch/fashion-mnist",
        "citation": (
            "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for "
            "Benchmarking Machine Learning Algorithms. arXiv 1708.07747, 2017"
        ),
    }
)

SVHN = DatasetFacts(
    name="svhn",
    title="Street View House Numbers, cropped digits, without the extra split",
    classes=tuple("0123456789"),
    train_per_class=(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    num_test=26032,
    channels=3,
    height=32,
    width=32,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    license=License(name="non-commercial use only", url=_STANFORD),
    homepage=_STANFORD,
    citation=(
        "Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng: Reading Digits in Natural "
        "Images with Unsupervised Feature Learning. NIPS workshop, 2011"
    ),
)


def _idx_files(folder: str, base: str, sums: tuple[str, str, str, str]) -> tuple[RemoteFile, ...]:
    names = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    return tuple(
        RemoteFile(f"{folder}/raw/{name}", base + name, md5)
        for name, md5 in zip(names, sums, strict=True)
    )


SOURCES = {
    "cifar10": Source(
        "CIFAR10",
        (
            RemoteFile(
                "cifar-10-python.tar.gz",
                _TORONTO + "cifar-10-python.tar.gz",
                "c58f30108f718f92721af3b95e74349a",
            ),
        ),
        channels_last=True,
    ),
    "cifar100": Source(
        "CIFAR100",
        (
            RemoteFile(
                "cifar-100-python.tar.gz",
                _TORONTO + "cifar-100-python.tar.gz",
                "eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
        channels_last=True,
    ),
    "mnist": Source(
        "MNIST",
        _idx_files(
            "MNIST",
            _OSSCI,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    "fashion_mnist": Source(
        "FashionMNIST",
        _idx_files(
            "FashionMNIST",
            _ZALANDO,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    "svhn": Source(
        "SVHN",
        (
            RemoteFile(
                "train_32x32.mat",
                _STANFORD + "train_32x32.mat",
                "e26dedcc434d2e4c54c9b2d4a06d8373",
            ),
            RemoteFile(
                "test_32x32.mat", _STANFORD + "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"
            ),
        ),
        split_argument=("split", "train", "test"),
        labels="labels",
    ),
}
