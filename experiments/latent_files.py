"""Files of latents that grow while they are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy

from datamodules.errors import UsageError, require


class LatentFile(Protocol):
    """What latents are written to."""

    def write(self, sentences: Sequence[str], latents: npt.NDArray[np.float32]) -> None:
        """Appends a row for each sentence; latents are (B, Z), or (B, K, Z)."""

    def close(self) -> None:
        """Completes the file."""


class ArrayFile:
    """One array of NumPy's format, without the sentences."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rows = 0
        self._row_shape: tuple[int, ...] = ()

    def write(self, sentences: Sequence[str], latents: npt.NDArray[np.float32]) -> None:
        """Appends."""
        if self._rows == 0:
            self._row_shape = latents.shape[1:]
            self._header()
        self._file.write(latents.tobytes())
        self._rows += len(latents)

    def close(self) -> None:
        """Writes the header again, now that the number of rows is known: NumPy pads it so that it keeps its size."""
        self._file.seek(0)
        self._header()

    def _header(self) -> None:
        about = {"descr": "<f4", "fortran_order": False, "shape": (self._rows, *self._row_shape)}
        npy.write_array_header_1_0(self._file, about)


class TableFile:
    """A Parquet table with the columns `sentence` and `latent`, lists of fixed length."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None

    def write(self, sentences: Sequence[str], latents: npt.NDArray[np.float32]) -> None:
        """Appends a row group."""
        column: pa.Array = pa.array(latents.reshape(-1))
        for size in reversed(latents.shape[1:]):
            column = pa.FixedSizeListArray.from_arrays(column, size)
        table = pa.table({"sentence": list(sentences), "latent": column})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Writes the footer."""
        if self._writer is not None:
            self._writer.close()


LATENT_FILES: dict[str, Callable[[BinaryIO], LatentFile]] = {".npy": ArrayFile, ".parquet": TableFile}


@contextmanager
def latent_file(name: str) -> Iterator[LatentFile]:
    """A file that has its name only when it is complete.

    Args:
        name: Its suffix, one of `LATENT_FILES`, says which kind it is.

    Raises:
        UsageError: It cannot be written.
    """
    partial = Path(f"{name}.{os.getpid()}.partial")
    require(not Path(name).is_dir(), f"--output {name} cannot be written: it is a folder")
    try:
        with partial.open("w+b") as opened:
            file = LATENT_FILES[Path(name).suffix](opened)
            yield file
            file.close()
        os.replace(partial, name)
    except OSError as error:
        raise UsageError(f"--output {name} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
