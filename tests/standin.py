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
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import SingleDeviceStrategy
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

# Of what CUDA's autocast makes in the lower precision, and in float32, what there is of it here.
LOWERED = "addmm addmv addr matmul mm mv linear addbmm baddbmm bmm _thnn_fused_lstm_cell _thnn_fused_gru_cell"
IN_FLOAT32 = (
    "exp expm1 log log1p reciprocal rsqrt pow.Tensor_Scalar pow.Tensor_Tensor softplus layer_norm cdist logsumexp "
    "cumsum sum sum.dim_IntList softmax.int log_softmax.int nll_loss_nd cross_entropy_loss "
    "binary_cross_entropy_with_logits"
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


class StandIn(Accelerator):
    """The device, as Lightning knows one."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: str | torch.device) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return [0]

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class WaitsInSteps(pl.Callback):
    """The lines at which training steps wait for the device.

    Args:
        between: Whether what lies between the steps counts, too, but for validations; then it is the first callback.
    """

    lines: ClassVar[set[str]] = set()

    def __init__(self, between: bool = False) -> None:
        self.between = between
        self.has_validated = True

    def on_train_start(self, *_: Any) -> None:
        self.lines.clear()

    def on_train_batch_start(self, *_: Any) -> None:
        if self.has_validated or not self.between:
            waits.clear()
        self.has_validated = False

    def on_train_batch_end(self, *_: Any) -> None:
        if not self.between:
            self.lines.update(waits)

    def on_validation_start(self, *_: Any) -> None:
        self.on_train_epoch_end()
        self.has_validated = True

    def on_train_epoch_end(self, *_: Any) -> None:
        if self.between and not self.has_validated:
            self.lines.update(waits)


class Precisions(pl.Callback):
    """The precisions of products of float32 numbers in training and in a test."""

    found: ClassVar[dict[str, str]] = {}

    def on_train_batch_end(self, *_: Any) -> None:
        self.found["train"] = torch.get_float32_matmul_precision()

    def on_test_batch_end(self, *_: Any) -> None:
        self.found["test"] = torch.get_float32_matmul_precision()


def on_stand_in(precision: Any) -> dict[str, Any]:
    """A trainer's options; `16-mixed` scales the loss, as on a GPU."""
    options = {"accelerator": StandIn(), "strategy": SingleDeviceStrategy(device=f"{NAME}:0")}
    if precision == "32-true":
        return options
    scaler = torch.amp.GradScaler("cpu", init_scale=4096.0) if precision == "16-mixed" else None
    return options | {"plugins": [MixedPrecision(precision, NAME, scaler)]}


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


def lstm_cell(gates: Tensor, hidden_gates: Tensor, cell: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    i, f, c, o = sum(biases, gates + hidden_gates).chunk(4, 1)
    i, f, c, o = i.sigmoid(), f.sigmoid(), c.tanh(), o.sigmoid()
    after = f * cell + i * c
    return o * after.tanh(), after, torch.cat((i, f, c, o), 1)


def lstm_cell_backward(
    hidden: Tensor | None, cell: Tensor | None, before: Tensor, after: Tensor, gates: Tensor, has_bias: bool
) -> tuple[Tensor | None, ...]:
    i, f, c, o = gates.chunk(4, 1)
    hidden = torch.zeros_like(before) if hidden is None else hidden
    bent = after.tanh()
    slope = hidden * o * (1 - bent**2) + (0 if cell is None else cell)
    inside = (
        slope * c * i * (1 - i),
        slope * before * f * (1 - f),
        slope * i * (1 - c**2),
        hidden * bent * o * (1 - o),
    )
    found = torch.cat(inside, 1)
    return found, slope * f, found.sum(0) if has_bias else None


def gru_cell(gates: Tensor, hidden_gates: Tensor, before: Tensor, *biases: Tensor) -> tuple[Tensor, ...]:
    r, z, n = (gates + biases[0]).chunk(3, 1)
    hidden_r, hidden_z, hidden_n = (hidden_gates + biases[1]).chunk(3, 1)
    r, z = (r + hidden_r).sigmoid(), (z + hidden_z).sigmoid()
    n = (n + r * hidden_n).tanh()
    return (1 - z) * n + z * before, torch.cat((r, z, n, before, hidden_n), 1)


def gru_cell_backward(hidden: Tensor, kept: Tensor, has_bias: bool) -> tuple[Tensor, ...]:
    r, z, n, before, hidden_n = kept.chunk(5, 1)
    slope_n = hidden * (1 - z) * (1 - n**2)
    slope_z, slope_r = hidden * (before - n) * z * (1 - z), slope_n * hidden_n * r * (1 - r)
    found, hidden_found = (torch.cat((slope_r, slope_z, each), 1) for each in (slope_n, slope_n * r))
    return found, hidden_found, hidden * z, found.sum(0), hidden_found.sum(0)


# Cells that are fused on other devices than the CPU.
CELLS: dict[Any, Callable[..., Any]] = {
    aten._thnn_fused_lstm_cell.default: lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: lstm_cell_backward,
    aten._thnn_fused_gru_cell.default: gru_cell,
    aten._thnn_fused_gru_cell_backward.default: gru_cell_backward,
}


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
            made.impl(name, autocast(named(name), is_lowered), "AutocastPrivateUse1")
    LIBRARIES.extend((every, made))
    # None of them knows of a device in Python.
    torch.tensor, torch.as_tensor = copied(torch.tensor), copied(torch.as_tensor)  # type: ignore[assignment]
    torch.inference_mode = lambda mode=True: torch.no_grad()  # type: ignore[assignment,misc]


LIBRARIES: list[Any] = []  # what is registered, is as long as these are held


def named(name: str) -> Any:
    base, _, overload = name.partition(".")
    return getattr(getattr(aten, base), overload or "default")


def autocast(operation: Any, is_lowered: bool) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def run_in_its_precision(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME) if is_lowered else torch.float32

        def cast(value: Any) -> Any:
            known = isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float16, torch.bfloat16)
            return value.to(dtype) if known else value

        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*pytree.tree_map(cast, args), **pytree.tree_map(cast, kwargs))

    return run_in_its_precision


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
