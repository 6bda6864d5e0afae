from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from models import command_line

from experiments.lightning_cli import TextCLI
from experiments.tensor_float32 import allow_tf32


@pytest.fixture(autouse=True)
def precisions() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("allowed", [True, False])
def test_all_products_of_a_gpu_are_in_one_precision(allowed: bool) -> None:
    allow_tf32(torch.device("cuda"), allowed)
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
    assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")  # as Lightning asks


def test_a_cpus_are_left_as_they_are() -> None:
    for precision in ("high", "highest"):
        torch.set_float32_matmul_precision(precision)
        for allowed in (True, False):
            allow_tf32(torch.device("cpu"), allowed)
            assert torch.get_float32_matmul_precision() == precision


@pytest.mark.parametrize("wanted", [True, False])
def test_a_training_on_a_gpu_has_what_is_wanted_and_a_test_has_it_never(wanted: bool) -> None:
    line = command_line("cuda", tf32=wanted)
    for before, allowed in ((TextCLI.before_fit, wanted), (TextCLI.before_test, False)):
        before(line)
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
    assert TextCLI.before_validate is TextCLI.before_predict is TextCLI.before_test
