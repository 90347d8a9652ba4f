"""Read-only memory maps, whose pages all processes of a host share."""

import mmap
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.errors import CorpusError

Scalar = TypeVar("Scalar", bound=np.generic)


def map_bytes(path: Path) -> mmap.mmap:
    """The bytes of a file that is not empty."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{path} cannot be read ({error}): remove its folder and prepare the corpus again."
        ) from error


def map_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file; raises `OSError`, or `ValueError` where it is no such file or not whole."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:  # a header is read by Python's own parser: nobody lists what a damaged one raises
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(array, np.memmap):
        array.close()
        raise ValueError("an archive of arrays, no .npy file")  # noqa: TRY004 - the file is wrong, not the program
    if array.offset + array.nbytes != path.stat().st_size:
        raise ValueError("other bytes follow the array")
    return array


def map_array(path: Path, dtype: type[Scalar] | np.dtype[Scalar]) -> NDArray[Scalar]:
    """The one-dimensional array of a .npy file; raises `CorpusError` where it holds anything else."""
    try:
        array: NDArray[Scalar] = np.asarray(map_npy(path))
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{path} cannot be read ({error}): remove its folder and prepare the corpus again."
        ) from error
    if array.dtype != dtype or array.ndim != 1:
        raise CorpusError(f"{path} is no array of {np.dtype(dtype)}: remove its folder and prepare the corpus again.")
    return array
