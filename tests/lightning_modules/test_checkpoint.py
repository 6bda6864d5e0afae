from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from models import WITHOUT_VALIDATION, WORDS, loader, sentences, small, trainer

from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.errors import UsageError
from datamodules.vocabulary import closed_vocabulary
from lightning_modules import AdversarialAutoencoder, Autoencoder
from lightning_modules.aae import AdversaryConfig
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.base import TextAutoencoder
from lightning_modules.checkpoint import load_model, read_checkpoint
from lightning_modules.decoding.search import reconstruct
from lightning_modules.optimization import OptimizerConfig

pytestmark = WITHOUT_VALIDATION
SENTENCES = sentences(12)
BATCH = TokenBatch.from_ids(SENTENCES)


def adversarial() -> AdversarialAutoencoder:
    """Options of every sort, none of them a default."""
    return small(
        AdversarialAutoencoder,
        adversary=AdversaryConfig(weight=3.0, hidden_size=9, lr=0.01, betas=(0.5, 0.9)),
        decoder=DecoderConfig(hidden_size=13, latent=("state", "concat"), dropout=0.1, max_words=12),
        corruption=CorruptionConfig(drop=0.2),
        optimizer=OptimizerConfig("adamw", lr=0.003, betas=(0.7, 0.8)),
        seed=7,
    )


def trained(model: TextAutoencoder, file: Path) -> Path:
    fitting = trainer(max_epochs=1)
    fitting.fit(model, loader(SENTENCES, BatchingConfig(sentences=5), training=True))
    fitting.save_checkpoint(file)
    return file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(small(Autoencoder), tmp_path_factory.mktemp("run") / "last.ckpt")


def test_a_model_comes_back_with_its_family_options_vocabulary_and_outputs(tmp_path: Path) -> None:
    saved = adversarial()
    loaded = load_model(trained(saved, tmp_path / "last.ckpt"))
    assert type(loaded) is AdversarialAutoencoder
    assert not loaded.training
    assert loaded.adversary == saved.adversary
    for name in ("encoder_config", "posterior_config", "decoder_config", "corruption", "optimizer_config", "seed"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.vocabulary.to_str() == saved.vocabulary.to_str()
    saved.eval()
    with torch.no_grad():
        expected, found = saved.objective(BATCH), loaded.objective(BATCH)
    assert torch.equal(found.loss, expected.loss)
    assert all(torch.equal(found.terms[name], value) for name, value in expected.terms.items())
    assert torch.equal(reconstruct(loaded, BATCH), reconstruct(saved, BATCH))


def test_options_from_mappings_and_from_dataclasses_make_the_same_model(tmp_path: Path) -> None:
    """A YAML gives mappings and lists, code dataclasses and tuples."""
    options: dict[str, Any] = {
        "decoder": DecoderConfig(hidden_size=13, latent=("state", "concat")),
        "corruption": CorruptionConfig(drop=0.2),
    }
    mappings = {name: asdict(value) for name, value in options.items()}
    first, second = small(Autoencoder, **options), small(Autoencoder, **mappings)
    assert (first.decoder_config, first.corruption) == (second.decoder_config, second.corruption)
    assert dict(first.hparams) == dict(second.hparams)


def test_a_checkpoint_holds_tensors_and_plain_values_alone(tmp_path: Path) -> None:
    contents = torch.load(trained(adversarial(), tmp_path / "last.ckpt"), weights_only=True)
    assert contents["family"] == "AdversarialAutoencoder"
    assert contents["hyper_parameters"]["adversary"]["weight"] == 3.0
    assert contents["hyper_parameters"]["decoder"]["latent"] == ("state", "concat")


def test_a_fresh_process_loads_it_without_yaml_or_data(checkpoint: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from lightning_modules.checkpoint import load_model\n"
        "from lightning_modules.decoding.search import reconstruct\n"
        "from lightning_modules.decoding.text import text_batch\n"
        "model = load_model(sys.argv[1])\n"
        "print(reconstruct(model, text_batch(model.vocabulary, ['w1 w2', 'w3'])).tolist())\n"
    )
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = reconstruct(load_model(checkpoint), TokenBatch.from_ids([[6, 7], [8]]))
    assert found.stdout.strip() == str(expected.tolist())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.ckpt"
    for path in (missing, tmp_path):
        with pytest.raises(UsageError, match=re.escape(str(path))):
            load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused_by_path(checkpoint: Path, tmp_path: Path, share: float) -> None:
    whole = checkpoint.read_bytes()
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UsageError, match=re.escape(str(cut))):
        load_model(cut)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(checkpoint: Path, tmp_path: Path, zipped: bool) -> None:
    trace, file = tmp_path / "ran", tmp_path / "hostile.ckpt"
    contents = read_checkpoint(checkpoint) | {"extra": Hostile(trace)}
    if zipped:
        torch.save(contents, file)
    else:
        file.write_bytes(pickle.dumps({"family": "Autoencoder", "extra": Hostile(trace)}, protocol=2))
    with pytest.raises(UsageError, match=re.escape(str(file))):
        load_model(file)
    assert not trace.exists()
    # The trap works where it is let.
    _ = torch.load(file, weights_only=False) if zipped else pickle.loads(file.read_bytes())
    assert trace.exists()


@pytest.mark.parametrize(
    "contents",
    [b"no checkpoint\n", b"", bytes(range(256)) * 8, b"\x80\x02]q\x00.", b"PK\x03\x04" + bytes(100)],
    ids=["text", "nothing", "bytes", "pickle of a list", "damaged archive"],
)
def test_a_file_that_is_no_checkpoint_is_refused_by_path(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "other.ckpt"
    file.write_bytes(contents)
    with pytest.raises(UsageError, match=re.escape(str(file))):
        load_model(file)


@pytest.mark.parametrize("contents", [{"state_dict": {}}, [1, 2], torch.zeros(3), {"family": "Autoencoder"}])
def test_a_checkpoint_of_another_program_is_refused_by_path(tmp_path: Path, contents: Any) -> None:
    file = tmp_path / "other.ckpt"
    torch.save(contents, file)
    with pytest.raises(UsageError, match=f"{re.escape(str(file))}.*not written by textae"):
        load_model(file)


def test_an_unknown_family_is_refused_by_name_and_path(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.ckpt"
    torch.save(read_checkpoint(checkpoint) | {"family": "Telepathy"}, file)
    with pytest.raises(UsageError, match=f"{re.escape(str(file))}.*Telepathy.*AdversarialAuto.*AveragingVAE"):
        load_model(file)


def test_weights_that_do_not_fit_the_options_are_refused_by_path(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.ckpt"
    contents = read_checkpoint(checkpoint)
    contents["hyper_parameters"]["decoder"]["hidden_size"] += 1
    torch.save(contents, file)
    with pytest.raises(UsageError, match=re.escape(str(file))):
        load_model(file)


OTHER_VOCABULARY = str(closed_vocabulary(WORDS[::-1]).to_str())
MISFITS: dict[str, tuple[Callable[[], TextAutoencoder], str]] = {
    "vocabulary": (lambda: small(Autoencoder, vocabulary=OTHER_VOCABULARY), "another vocabulary"),
    "family": (lambda: small(AdversarialAutoencoder), "of the family Autoencoder"),
}


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("misfit", MISFITS)
def test_the_trainer_refuses_weights_of_another(misfit: str, stage: str, checkpoint: Path) -> None:
    build, message = MISFITS[misfit]
    data = loader(SENTENCES, BatchingConfig(sentences=5), training=stage == "fit")
    with pytest.raises(UsageError, match=message):
        getattr(trainer(max_epochs=2), stage)(build(), data, ckpt_path=checkpoint)


def test_the_trainer_takes_weights_of_the_same_family_and_vocabulary(checkpoint: Path) -> None:
    model = small(Autoencoder)
    data = loader(SENTENCES, BatchingConfig(sentences=5), training=False)
    (found,) = trainer().validate(model, data, ckpt_path=checkpoint, verbose=False)
    with torch.no_grad():
        expected = load_model(checkpoint).objective(BATCH).terms["reconstruction"].double().mean()
    assert found["val/reconstruction"] == pytest.approx(float(expected), abs=1e-5)
