"""A stand-in for a GPU, whose tensors lie in the CPU's memory: what a GPU refuses raises, what waits for it is noted.

PyTorch lets one further device be defined in Python. Its operations are the CPU's, so that its numbers are, too; but a
tensor of the CPU among its own is refused, and what its host would have to wait for it is noted, as far as it is listed
here. Not reached are branches for CUDA by name, inference mode, and packed sequences, whose lengths are the CPU's.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from standin_kernels import CELLS, IN_FLOAT32, LOWERED, autocast, named
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch

NAME = "standin"
ROOM = str(Path(__file__).parents[1])

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
# Their results have a size, or are a number, that the host has to know, or their kernels ask for one.
ASKING = frozenset(
    "_local_scalar_dense nonzero masked_select _unique2 unique_dim unique_consecutive unique_dim_consecutive bincount "
    "equal allclose multinomial histc embedding_renorm_ repeat_interleave.Tensor normal.Tensor_Tensor "
    "normal.Tensor_float normal.float_Tensor masked_fill.Tensor masked_fill_.Tensor index_fill.int_Tensor "
    "index_fill_.int_Tensor linalg_svd linalg_eigh linalg_qr linalg_cholesky_ex linalg_lu_factor_ex".split()
)
# A GPU's tensors may be indexed by the CPU's, which are copied.
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
FACTORIES = (
    "arange arange.start arange.start_step linspace randperm eye full zeros ones scalar_tensor rand randn randint"
)

# Where in the project the device was waited for, each "file:function".
waits: list[str] = []


class DeviceTensor(Tensor):
    """A tensor of the device, and the CPU's tensor that it is made of."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[DeviceTensor], held: Tensor) -> DeviceTensor:
        made: DeviceTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]  # torch has it untyped
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return run(operation, args, dict(kwargs or {}))

    def tolist(self) -> Any:
        note()
        return self.held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert a tensor of the device {NAME} to numpy: copy it to the CPU first")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.detach().clone().__reduce_ex__(protocol)  # as files of a GPU's tensors are read on the CPU


def note() -> None:
    """Notes what in the project waits for the device, or that it is a backward pass's own operation."""
    for frame, _ in traceback.walk_stack(sys._getframe()):
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOM}/") and not file.startswith(sys.prefix) and file != __file__:
            waits.append(f"{Path(file).relative_to(ROOM)}:{frame.f_code.co_name}")
            return
    waits.append("the backward pass")  # which has a thread of its own


def run(operation: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An operation, by the CPU's kernel."""
    flat, form = pytree.tree_flatten((args, kwargs))
    ours = [each for each in flat if isinstance(each, DeviceTensor)]
    others = [each for each in flat if isinstance(each, Tensor) and not isinstance(each, DeviceTensor)]
    refuse_mixtures(operation, args, ours, others)
    device = kwargs.get("device")
    on_device = bool(ours) if device is None else torch.device(device).type == NAME
    if is_waited_for(operation, args, kwargs, to_cpu=not on_device):
        note()
    plain_args, plain_kwargs = pytree.tree_unflatten([as_plain(each) for each in flat], form)
    found = CELLS.get(operation, operation)(*plain_args, **plain_kwargs)
    if torch.Tag.inplace_view in operation.tags:
        with no_dispatch():  # the wrapper has a shape of its own
            operation(*args, **kwargs)
    known = {id(each.held): each for each in ours}

    def wrapped(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        return known.get(id(result), DeviceTensor(result) if on_device else result)

    return pytree.tree_map(wrapped, found)


def is_waited_for(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], to_cpu: bool) -> bool:
    """Whether the host has to wait for what it gets; `to_cpu` is said of a copy to a device that is named."""
    if operation in COPIES:
        other = args[1] if operation is aten.copy_.default else args[0]
        to_cpu = not isinstance(args[0], DeviceTensor) if operation is aten.copy_.default else to_cpu
        crosses = isinstance(other, DeviceTensor) is to_cpu
        is_asynchronous = kwargs.get("non_blocking", len(args) > 2 and args[2])
        # What is copied from a GPU without waiting is not there yet.
        return crosses and (to_cpu or not is_asynchronous)
    if operation in INDEXING:
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return str(operation).removeprefix("aten.").removesuffix(".default") in ASKING


def refuse_mixtures(operation: Any, args: Sequence[Any], ours: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Raises where a GPU's kernel would.

    One number of the CPU is an argument like any number, where elements are combined, but nothing is written to it.
    """
    if not ours or operation in COPIES:
        return
    combines = torch.Tag.pointwise in operation.tags or operation is aten.fill_.Tensor
    if operation in INDEXING and isinstance(args[0], DeviceTensor):
        combines = True
        indices = [index for index in args[1] if index is not None]
        others = [other for other in others if all(other is not index for index in indices)]
        if any(not isinstance(index, DeviceTensor) for index in indices):
            note()
    given = zip(operation._schema.arguments, args, strict=False)
    written = [value for argument, value in given if argument.alias_info is not None and argument.alias_info.is_write]
    wrong = [
        tuple(other.shape)
        for other in others
        if other.dim() > 0 or not combines or any(other is value for value in written)
    ]
    if wrong:
        raise RuntimeError(f"{operation} of tensors of {NAME} and, of shapes {wrong}, of the CPU")


def as_plain(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == NAME else value


def register() -> None:
    """Makes the device known to this process, which is for nothing else: PyTorch does not forget it.

    Raises:
        ImportError: This PyTorch has no devices in Python.
    """
    from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

    class Backend(_DummyBackendModule):  # type: ignore[misc]  # torch has it untyped
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16, torch.float16]

    _setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    every = torch.library.Library("_", "IMPL")
    every.fallback(lambda operation, *args, **kwargs: run(operation, args, kwargs), "PrivateUse1")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    made = torch.library.Library("aten", "IMPL")
    for name in FACTORIES.split():
        made.impl(name, on_device(named(name)), "PrivateUse1")
    for names, is_lowered in ((LOWERED, True), (IN_FLOAT32, False)):
        for name in names.split():
            made.impl(name, autocast(NAME, named(name), is_lowered), "AutocastPrivateUse1")
    LIBRARIES.extend((every, made))
    # None of them knows of a device in Python.
    torch.tensor, torch.as_tensor = copied(torch.tensor), copied(torch.as_tensor)  # type: ignore[assignment]
    torch.inference_mode = lambda mode=True: torch.no_grad()  # type: ignore[assignment,misc]


LIBRARIES: list[Any] = []  # what is registered, is as long as these are held


def on_device(factory: Any) -> Callable[..., Tensor]:
    def make(*args: Any, device: Any = None, pin_memory: Any = None, **options: Any) -> Tensor:
        return DeviceTensor(factory(*args, device="cpu", **options))

    return make


def copied(factory: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(data: Any, *args: Any, device: Any = None, **options: Any) -> Tensor:
        if device is None or torch.device(device).type != NAME:
            return factory(data, *args, device=device, **options)
        return factory(data, *args, **options).to(device)

    return make
