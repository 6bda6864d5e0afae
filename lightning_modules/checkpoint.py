"""Loading a trained model from its checkpoint file alone: no YAML, no data, and no code from the file."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import lightning_modules
from datamodules.errors import UsageError, require
from lightning_modules.text_model import TextModel


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of ours, with `weights_only=True`.

    Raises:
        UsageError: The file is missing, truncated, holds more than tensors and plain values, or is not of this project.
    """
    path = Path(file)
    require(path.is_file(), f"there is no checkpoint {path}")
    try:
        # PyTorch would load bytes that a disk has changed.
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
        require(changed is None, f"checkpoint {path} is damaged: the checksum of its part {changed} is another")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(f"checkpoint {path} is damaged, or holds more than tensors and plain values") from error
    except UsageError:
        raise
    except (RuntimeError, LookupError, EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"checkpoint {path} is truncated or damaged ({str(error).partition(chr(10))[0]})") from error
    require(isinstance(checkpoint, dict) and _is_ours(checkpoint), f"checkpoint {path} was not written by textae")
    return dict(checkpoint)


def load_model(file: str | Path, device: str | torch.device = "cpu") -> TextModel:
    """The model of a checkpoint, in evaluation mode.

    The families of this package are found by themselves, one of your own once its module is imported.

    Raises:
        UsageError: The checkpoint cannot be read, or its family is not known.
    """
    checkpoint = read_checkpoint(file)
    for module in pkgutil.iter_modules(lightning_modules.__path__, "lightning_modules."):
        importlib.import_module(module.name)
    families = {family.__name__: family for family in _families(TextModel) if not inspect.isabstract(family)}
    name = checkpoint["family"]
    require(name in families, f"checkpoint {file} is of the family {name}; known are {', '.join(sorted(families))}")
    hyperparameters = checkpoint["hyper_parameters"]
    options = {key: value for key, value in hyperparameters.items() if not key.startswith("_")}
    try:
        model: TextModel = families[name](**options)
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # whatever a constructor makes of what it was not made for
        raise UsageError(f"checkpoint {file} does not fit this version of {name}: {error}") from error
    return model.to(device).eval()


def _is_ours(checkpoint: dict[str, Any]) -> bool:
    """Whether the parts that every use needs are of their kinds."""
    options, weights = checkpoint.get("hyper_parameters"), checkpoint.get("state_dict")
    return (
        isinstance(checkpoint.get("family"), str)
        and isinstance(options, dict)
        and all(isinstance(name, str) for name in options)
        and isinstance(weights, dict)
        and all(isinstance(value, torch.Tensor) for value in weights.values())
    )


def _families(base: type) -> Iterator[type]:
    family: type
    for family in base.__subclasses__():
        yield family
        yield from _families(family)
