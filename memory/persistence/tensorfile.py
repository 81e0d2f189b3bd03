"""Safetensors files written from, and read into, tensors in place; loading one runs no code.

The format is that of the safetensors library, which reads these files too. Done here so that a memory of gigabytes is
not copied to be saved, and so that nothing is allocated before a stranger's file has been checked against its size.
"""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

LONGEST_HEADER = 2**20
"""Bytes; a memory's header has some thousand."""


def write_tensors(path: str | Path, tensors: dict[str, Tensor], note: str) -> None:
    """Write tensors and a note, to another file first, so that a crash leaves the old one."""
    path = Path(path)
    header: dict[str, Any] = {"__metadata__": {"note": note}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                file.write(_bytes(tensor.detach().cpu().contiguous()))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class TensorFile:
    """An open file, its header checked against its size.

    Attributes:
        note: What was written beside the tensors.
        shapes: Shape and dtype of each tensor by name.

    Raises:
        ValueError: It is no such file, or cut short, or its header does not fit its size.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: BinaryIO = self.path.open("rb")
        try:
            self._size = self.path.stat().st_size
            self._read_header()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._file.close()
            raise ValueError(f"{self.path} is no memory file, or is damaged: {error}") from error

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        shape, dtype = self.shapes[name]
        tensor = torch.empty(shape, dtype=dtype)
        self._file.seek(self._starts[name])
        if tensor.nbytes and self._file.readinto(_bytes(tensor)) != tensor.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"{self.path} ends in the middle of {name!r}; it was not written to its end")
        return tensor

    def _read_header(self) -> None:
        length = int.from_bytes(self._file.read(8), "little")
        if not 0 < length <= min(LONGEST_HEADER, self._size - 8):
            raise ValueError(f"its header would take {length} bytes of {self._size}")
        header = json.loads(self._file.read(length))
        self.note: str = header.pop("__metadata__")["note"]
        self.shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        self._starts: dict[str, int] = {}
        end = 0
        for name, entry in header.items():
            shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
            start, stop = entry["data_offsets"]
            if not all(isinstance(n, int) and n >= 0 for n in (*shape, start, stop)):
                raise ValueError(f"{name!r} has shape {shape} at {start}")
            if start != end or stop - start != prod(shape) * dtype.itemsize:
                raise ValueError(f"{name!r} of shape {shape} does not fit bytes {start} to {stop}")
            self.shapes[name], self._starts[name], end = (shape, dtype), 8 + length + start, stop
        if 8 + length + end != self._size:
            raise ValueError(f"it has {self._size} bytes instead of {8 + length + end}; it was not written to its end")


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.numpy().reshape(-1).view(np.uint8).data
