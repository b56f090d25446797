"""Reading data sets: NumPy files, folders and archives of images, CIFAR-10 and CIFAR-100, MNIST.

Nothing is extracted to the file system, no pickle is run, and images are decoded one by one when they are asked for.
"""

from __future__ import annotations

import os
from pathlib import Path

from lronnx.data.arrays import open_npy, open_npz
from lronnx.data.cifar import open_cifar
from lronnx.data.dataset import Dataset
from lronnx.data.idx import open_idx, open_idx_folder
from lronnx.data.images import open_images
from lronnx.data.trees import Folder, Tree, open_archive
from lronnx.errors import InputError
from lronnx.inputs import IMAGE_SUFFIXES, split_spec

__all__ = ["Dataset", "open_data"]

_ACCEPTED = (
    "a .npy or .npz file; a folder, a zip file or a tar archive (also gzip, bzip2, xz) with images in CLASS/NAME or "
    "SPLIT/CLASS/NAME; CIFAR-10 or CIFAR-100, binary or Python version, as published or unpacked; MNIST's idx files"
)


def open_data(spec: str | os.PathLike[str]) -> Dataset:
    """The data set in a file or a folder, whose kind is told by its content.

    - ``.npy``: an array (N, ...) of samples, without labels. ``.npz``: the samples are called ``images``, ``x`` or
      ``data``, the labels ``labels`` or ``y``, (N,) or (N, 1); of splits (train, val, valid, validation, test) these
      names with the split behind or before, as in ``x_train`` or ``train_labels``. ``corrupted``, or
      ``corrupted_train``, tells which labels are corrupted, as a mask (N,) of bool or a list of positions.
      ``classes`` names the classes. ``file.npz:KEY`` takes the samples from another array, as one without splits;
      labels are then taken from those of the split that the key names, else from ``labels`` or ``y``, if
      there are as many of them as samples. Samples are of uint8, which are pixels, or floating-point.
    - Images in ``CLASS/NAME`` or ``SPLIT/CLASS/NAME``, in a folder, a zip file or a tar archive, plain or compressed by
      gzip, bzip2 or xz. Folders above all images are left out, unless the last of them is called as a split usually
      is (:data:`lronnx.data.images.SPLITS`). Splits come in the order of that list, others behind it; in a split,
      images are sorted by class, then name. Labels number the sorted names of classes of all splits. Hidden files and
      what has no image's suffix are left out. Pillow is needed.
    - CIFAR-10 and CIFAR-100 (its fine labels), in the binary or the Python version, as published or unpacked.
    - A folder with MNIST's idx files, plain or gzipped, or one such file of images, with labels if they lie beside it.

    Raises InputError if it is none of these or cannot be read.
    """
    path, key = split_spec(os.fspath(spec))
    if path.name in {"", ".."}:
        # The folder itself has a name to show.
        path = Path(os.path.abspath(path))
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    if path.is_dir():
        return _open_tree(Folder(path))
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder")
    if path.suffix.lower() == ".npz":
        return open_npz(path, key)
    if path.suffix.lower() == ".npy":
        return open_npy(path)
    archive = open_archive(path)
    dataset = open_idx(path) if archive is None else _open_tree(archive)
    if dataset is None:
        raise InputError(f"{path} holds no data set that lronnx reads: give {_ACCEPTED}")
    return dataset


def _open_tree(tree: Tree) -> Dataset:
    for opener in (open_cifar, open_idx_folder, open_images):
        dataset = opener(tree)
        if dataset is not None:
            return dataset
    suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
    raise InputError(
        f"{tree.path} holds {len(tree.members)} files, but neither images ({suffixes}) nor the files of CIFAR-10, "
        f"CIFAR-100 or MNIST: give {_ACCEPTED}"
    )
