"""How often a call waits for the device: on a GPU as torch warns of it, on the CPU as often as a GPU would have to."""

import warnings
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

WAITING = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.repeat_interleave,
}
"""What gives a number to the host, or a tensor whose size depends on numbers."""

BY_INDEX = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""What waits if a mask says where, and also if a plain number is put there: it is copied to the device first."""

ASKING = ("cpu", "numpy", "tolist")
"""What copies a tensor to the host, and cannot be seen in what is dispatched on the CPU."""


class Waits(TorchDispatchMode):
    """Notes where a GPU would have been waited for."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kind = function.overloadpacket
        if kind in WAITING and not (kwargs or {}).get("output_size"):
            self.noted.append(str(function))
        if kind in BY_INDEX and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
            self.noted.append(f"{function} by a mask")
        if kind in BY_INDEX and len(args) > 2 and not args[2].dim() and args[1][0].numel() > 1:
            self.noted.append(f"{function} of a number")
        if kind is aten.where and len(args) > 1 and args[0].dim() and not (args[1].dim() and args[2].dim()):
            self.noted.append(f"{function} of a number")
        return function(*args, **(kwargs or {}))


def on_host(tensor):
    """The same numbers, in a tensor that lies on the host whatever stands for the device."""
    tensor = tensor.detach()
    tensor.lies_on_host = True
    return tensor


@contextmanager
def noted(device="cpu"):
    """The list of what has waited for the device when this is over."""
    if torch.device(device).type == "cuda":
        with _warned() as waits:
            yield waits
        return
    waits, from_numpy, to = Waits(), torch.from_numpy, Tensor.to

    def asked(name, own):
        def ask(tensor):
            if hasattr(tensor, "lies_on_host"):
                return own(tensor)
            waits.noted.append(name)
            return on_host(own(tensor)) if name == "cpu" else own(tensor)

        return ask

    def moved(tensor, *where, **how):
        there = to(tensor, *where, **how)
        return there.detach() if hasattr(there, "lies_on_host") else there

    with ExitStack() as stack:
        for name in ASKING:
            stack.enter_context(patch.object(Tensor, name, asked(name, getattr(Tensor, name))))
        stack.enter_context(patch.object(Tensor, "to", moved))
        stack.enter_context(patch.object(torch, "from_numpy", lambda array: on_host(from_numpy(array))))
        stack.enter_context(waits)
        yield waits.noted


@contextmanager
def _warned():
    noted = []
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield noted
        finally:
            torch.cuda.set_sync_debug_mode(before)
            noted += [f"{one.filename}:{one.lineno}" for one in caught if "called a synchronizing" in str(one.message)]
