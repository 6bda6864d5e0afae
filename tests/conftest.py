"""Shields every test from its machine: no network, no cache, no account and no setting of the user's."""

from __future__ import annotations

from collections.abc import Iterator

import datasets.config
import huggingface_hub.constants
import pytest
from hub import point_hub_at, unreachable_endpoint


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches and W&B files in a temporary folder; the hub offline, and at an address where nobody listens."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "wandb").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        point_hub_at(patch, unreachable_endpoint(), folder / "huggingface")
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("WANDB_MODE", "offline")
        for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(name, str(folder / "wandb"))
        patch.setenv("NETRC", str(folder / "netrc"))
        yield


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables that the project reads, not even one that an earlier test has left behind."""
    for name in ("DATA_DIR", "TEXTAE_VERSION", "SLURM_JOB_ID", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
