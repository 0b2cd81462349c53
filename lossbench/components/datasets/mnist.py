"""MNIST and its fashionable sibling, from the files that their authors published."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lossbench.components.datasets import _idx
from lossbench.components.vocabulary import Data, FilePath, Samples, Target
from lossbench.errors import DataError
from lossbench.lazy import LazyModule, np
from lossbench.registry import dataset

if TYPE_CHECKING:
    from lossbench.components.datasets import _download
else:
    # urllib and what it brings along are for those who download.
    _download = LazyModule("lossbench.components.datasets._download")

MNIST = Target("class", 10, tuple("0123456789"))
FASHION = Target(
    "class",
    10,
    (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
)  # fmt: skip

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SUMS = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_SUMS = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)

Folder = Annotated[str | None, FilePath(must_exist=False)]


@dataset(target=MNIST, inputs=(1, 28, 28), real=True)
def mnist(_seed: int, *, folder: Folder = None, download: bool = True) -> Data:
    """Handwritten digits, 70 000 images of 28 x 28 pixels from 0 to 1.

    Shapes:    inputs [N, 1, 28, 28], targets [N] in 0 to 9
    Knobs:
        folder: where the four IDX files lie, packed or not; by default lossbench/mnist in the
            cache directory (XDG_CACHE_HOME, or ~/.cache).
        download: fetch the files that are not there.
    Note:      the test split is the official one; validation is cut from the official training
               images in the proportion that `split` gives.
    Errors:    exit code 4 where a file is missing and cannot be fetched; a damaged file.
    Reference: LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document
               Recognition, 1998.
    """
    return _family("mnist", MNIST, MNIST_URL, MNIST_SUMS, folder, download)


@dataset(target=FASHION, inputs=(1, 28, 28), real=True)
def fashion_mnist(_seed: int, *, folder: Folder = None, download: bool = True) -> Data:
    """Ten kinds of clothing, in the shape of MNIST and harder.

    Shapes:    inputs [N, 1, 28, 28], targets [N] in 0 to 9
    Knobs:
        folder: where the four IDX files lie, packed or not; by default lossbench/fashion_mnist in
            the cache directory (XDG_CACHE_HOME, or ~/.cache).
        download: fetch the files that are not there.
    Note:      the test split is the official one; validation is cut from the official training
               images in the proportion that `split` gives.
    Errors:    exit code 4 where a file is missing and cannot be fetched; a damaged file.
    Reference: Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking
               Machine Learning Algorithms, 2017.
    """
    return _family("fashion_mnist", FASHION, FASHION_URL, FASHION_SUMS, folder, download)


def _family(
    name: str,
    target: Target,
    url: str,
    sums: tuple[str, ...],
    folder: str | None,
    download: bool,
) -> Data:
    """Read the four files, from the folder or after fetching them."""
    place = _download.cache_folder(name) if folder is None else Path(folder)
    published = _download.Published(name, url, dict(zip(FILES, sums, strict=True)))
    files = _download.obtain(published, place, download)
    return Data(
        target=target,
        train=_samples(files[0], files[1], target.size),
        test=_samples(files[2], files[3], target.size),
    )


def _samples(image_file: Path, label_file: Path, classes: int) -> Samples:
    """Read images and their labels, and see that they belong together."""
    images, labels = _idx.read_idx(image_file), _idx.read_idx(label_file)
    if images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise DataError(f"{image_file}: {images.dtype} {images.shape}, where images are 28 x 28")
    if labels.shape != (len(images),):
        raise DataError(f"{label_file}: labels {labels.shape} for {len(images)} images")
    if labels.max(initial=0) >= classes or labels.min(initial=0) < 0:
        raise DataError(f"{label_file}: a label {labels.max()}, where they are 0 to {classes - 1}")
    return Samples(_scaled(images), labels.astype(np.int64))


def _scaled(images: Any) -> Any:
    """Turn bytes into one channel of single-precision numbers from 0 to 1."""
    return (images[:, None] / np.float32(255)).astype(np.float32, copy=False)
