"""What every family keeps to; one that is added to the package is found and tested without an edit here.

One file, though a long one: it is the contract as a whole that whoever adds a family reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from models import (
    ON_STAND_IN,
    PLAIN,
    WITHOUT_VALIDATION,
    WORDS,
    families,
    fit,
    learner,
    left_once,
    loader,
    needs_stand_in,
    noisy,
    one_by_one,
    plain,
    sentences,
    small,
    train_on_a_rank,
    train_on_a_stand_in,
    trainer,
    widened,
    written,
)
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks.quantities import QUANTITIES
from datamodules.batch import TokenBatch
from datamodules.bucketing import BatchingConfig
from datamodules.vocabulary import BLANK, BOS, EOS, PAD
from lightning_modules.backbone.corruption import CorruptionConfig
from lightning_modules.backbone.decoder import DecoderConfig
from lightning_modules.backbone.encoder import EncoderConfig
from lightning_modules.backbone.layers import EmbeddingConfig
from lightning_modules.backbone.posterior import Gaussian
from lightning_modules.base import TextAutoencoder
from lightning_modules.checkpoint import load_model
from lightning_modules.decoding.search import greedy, reconstruct, sample
from lightning_modules.decoding.text import batch_text, to_text
from lightning_modules.randomness import SentenceRandom
from lightning_modules.text_model import TextModel

Kind = type[TextModel]

pytestmark = [
    WITHOUT_VALIDATION,
    pytest.mark.parametrize("family", families(), ids=lambda family: family.__name__),
]
SENTENCES = sentences(12)
# What callbacks log in a test beside a family's own terms.
CALLBACKS_FIGURES = {
    "active_units",
    "mutual_information",
    "reconstruction_bleu",
    "nll_iw",
    "knn_purity",
    "self_bleu",
    "tense_accuracy",
}
BATCH = TokenBatch.from_ids(SENTENCES)
# Where PyTorch's loss scale has a step wait for it.
SCALES = {
    "tests/models.py:train_on_a_stand_in",
    "lightning_modules/manual.py:descend",
    "lightning_modules/arae.py:_note_gradient",
}
# What a training step has to know before it goes on, for which a GPU is waited: whether every text has ended, and,
# after some of its own steps, whether the encoder still learns.
WAITS = {
    "MutualInformationVAE": {"lightning_modules/decoding/search.py:_decode"},
    "LaggingVAE": {"lightning_modules/lagging_svae.py:_nats_a_word"},
}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], atol: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


def latents(model: TextModel, batch: TokenBatch) -> Tensor:
    """Posterior means, or of a model without a latent the empty ones that its decoder takes."""
    return model.encode(batch).mean if isinstance(model, TextAutoencoder) else torch.zeros(len(batch), 0)


def memory(model: TextModel, batch: TokenBatch) -> tuple[int, float]:
    """How many sentences come back exactly, and -log p(x|z), nats a sentence."""
    with torch.no_grad():
        nll = float(model.reconstruction(batch, latents(model, batch)).mean())
    if not isinstance(model, TextAutoencoder):
        return 0, nll
    pairs = zip(to_text(model, reconstruct(model, batch)), batch_text(model.vocabulary, batch), strict=True)
    return sum(written == read for written, read in pairs), nll


def test_it_learns_a_few_sentences_by_heart(family: Kind) -> None:
    """Word for word, or, where the latent may say nothing, as a distribution over just these sentences."""
    known = sentences(32)
    batch = TokenBatch.from_ids(known)
    model = learner(family)
    tried = []
    for _ in range(5):
        fit(model.train(), known, epochs=100)
        tried.append(memory(model.eval(), batch))
        exact, nll = tried[-1]
        # Where the prior may swallow z, or there is none, a distribution over just these sentences will do.
        marginal = not isinstance(model, TextAutoencoder) or model.stochastic
        if exact >= 29 or (marginal and nll < math.log(len(known)) + 0.4):
            return
    pytest.fail(f"sentences that come back exactly, and nats a sentence, after every 100 epochs: {tried}")


@pytest.mark.parametrize("training", [True, False])
def test_the_objective_gives_its_terms_sentence_by_sentence(family: Kind, training: bool) -> None:
    model = small(family).train(training)
    objective = model.objective(BATCH)
    assert set(objective.terms) == set(model.terms)
    for value in (objective.loss, *objective.terms.values()):
        assert value.shape == (len(BATCH),)
        assert value.dtype == torch.float32
        assert bool(value.isfinite().all())
    assert objective.loss.requires_grad


def test_the_monitor_is_a_validation_term(family: Kind) -> None:
    stage, _, term = family.monitor.partition("/")
    assert stage == "val" and term in family.terms


def test_every_figure_says_what_it_is_and_none_has_the_name_of_a_callbacks(family: Kind) -> None:
    figures = {*family.terms, *family.perplexities}
    assert figures <= QUANTITIES.keys()
    assert not figures & CALLBACKS_FIGURES


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_it_trains_in_half_precision(family: Kind, precision: Any) -> None:
    model = small(family)
    start = {name: value.clone() for name, value in model.named_parameters()}
    fitting = trainer(max_epochs=2, precision=precision)
    fitting.fit(model, loader(SENTENCES, BatchingConfig(sentences=4), training=True))
    assert all(bool(value.isfinite().all()) for value in model.parameters())
    assert any(not torch.equal(value.float(), start[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_figures_do_not_depend_on_batches_in_any_precision(family: Kind, precision: Any) -> None:
    """Sentences' values are rounded where the precision is low; their sums are not."""
    found = [
        trainer(precision=precision).test(
            small(family), loader(SENTENCES * 15, BatchingConfig(eval_sentences=size), training=False), verbose=False
        )[0]
        for size in (1, 64)
    ]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert value == pytest.approx(found[1][name], rel=1e-2 if "error" in name else 3e-3, nan_ok=True), name


def test_the_loss_under_bf16_autocast_is_close_to_that_in_float32(family: Kind) -> None:
    model = small(family)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.objective(BATCH)
    assert rounded.loss.dtype == torch.float32
    torch.testing.assert_close(rounded.loss, model.objective(BATCH).loss, rtol=0.05, atol=0.1)
    rounded.loss.mean().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("training", [True, False])
def test_padding_does_not_influence_a_number(family: Kind, training: bool) -> None:
    noise = CorruptionConfig(shuffle=2, drop=0.2, blank=0.1, substitute=0.1)
    decoder = DecoderConfig(hidden_size=13, word_dropout=0.3)
    model = small(family, corruption=noise, decoder=decoder).train(training)
    narrow, wide = model.objective(BATCH), model.objective(widened(BATCH, 3))
    assert_same(wide.terms | {"loss": wide.loss}, narrow.terms | {"loss": narrow.loss}, atol=1e-4)


def test_in_evaluation_a_sentences_terms_do_not_depend_on_its_companions(family: Kind) -> None:
    model = small(family).eval()
    together = model.objective(BATCH)
    alone = [model.objective(batch) for batch in one_by_one(SENTENCES)]
    found = {name: torch.cat([one.terms[name] for one in alone]) for name in model.terms}
    assert_same(found, together.terms, atol=1e-4)


def test_evaluation_is_repeatable_and_leaves_the_global_generator_alone(family: Kind) -> None:
    model = small(family, decoder=DecoderConfig(hidden_size=13, dropout=0.5, word_dropout=0.5)).eval()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = model.objective(BATCH).terms
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert_same(model.objective(BATCH).terms, first, atol=0)


def test_it_encodes_reconstructs_and_samples(family: Kind) -> None:
    model = small(family).eval()
    if isinstance(model, TextAutoencoder):
        with torch.no_grad():
            posterior = model.encode(BATCH)
        assert isinstance(posterior, Gaussian)
        for value in (posterior.mean, posterior.log_variance, model.sample_latent(BATCH, posterior)):
            assert value.shape == (len(BATCH), 6) and value.dtype == torch.float32
            assert bool(value.isfinite().all())
    random = SentenceRandom(torch.arange(5), 0, -1)
    with torch.no_grad():
        z = model.prior_latents(random)
        own = latents(model, BATCH)
    assert len(z) == 5 and z.dtype == torch.float32
    for ids, count in (
        (written(model, BATCH), len(BATCH) if isinstance(model, TextAutoencoder) else 5),
        (greedy(model, own), len(BATCH)),
        (greedy(model, z), 5),
        (sample(model, z, random), 5),
    ):
        assert ids.shape[0] == count and 1 <= ids.shape[1] <= 13
        for row in ids.tolist():
            assert row.count(EOS) == 1 and set(row[row.index(EOS) + 1 :]) <= {PAD}
            assert not {PAD, BOS, BLANK} & set(row[: row.index(EOS)])
        texts = to_text(model, ids)
        assert len(texts) == count and {word for text in texts for word in text.split()} <= {*WORDS, "<unk>"}


def test_validation_reports_the_mean_over_sentences_whatever_the_batches(family: Kind) -> None:
    model, known = small(family).eval(), SENTENCES[:11]
    with torch.no_grad():
        terms = model.objective(TokenBatch.from_ids(known)).terms
    expected = {f"val/{name}": float(value.double().mean()) for name, value in terms.items()}
    for size in (11, 5):  # 5 makes batches of 4, 3 and 4
        data = loader(known, BatchingConfig(eval_sentences=size), training=False)
        (found,) = trainer().validate(model, data, verbose=False)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)
        assert family.monitor in found
        for name, term in family.perplexities.items():
            perplexity = math.exp(float(terms[term].double().sum()) / sum(len(sentence) + 1 for sentence in known))
            assert found[f"val/{name}"] == pytest.approx(perplexity, rel=1e-5)


class Displacement(pl.Callback):
    """How far training has moved each parameter."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = {name: parameter.detach().clone() for name, parameter in pl_module.named_parameters()}

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.moved = {name: parameter.detach() - self.start[name] for name, parameter in pl_module.named_parameters()}


def displacement(family: Kind, share: float) -> dict[str, Tensor]:
    """Of one step on one batch."""
    seen = Displacement()
    batch = TokenBatch.from_ids(SENTENCES, share=share)
    trainer(max_epochs=1, callbacks=[seen]).fit(small(family, **PLAIN), DataLoader([batch], batch_size=None))
    return seen.moved


def test_a_batch_moves_the_parameters_by_its_share(family: Kind) -> None:
    whole = displacement(family, 1.0)
    assert max(float(moved.abs().max()) for moved in whole.values()) > 1e-3
    assert not any(bool(moved.any()) for moved in displacement(family, 0.0).values())
    # A family that optimises by hand clips, or steps more than once: there half a gradient is no half step.
    if small(family).automatic_optimization:
        assert_same(displacement(family, 0.5), {name: moved / 2 for name, moved in whole.items()}, atol=1e-6)


def test_every_parameter_is_in_one_group_of_the_optimisers(family: Kind) -> None:
    model = small(family)
    configured: Any = model.configure_optimizers()
    optimizers = configured if isinstance(configured, list | tuple) else [configured]
    grouped = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embedding": EmbeddingConfig(12, shared=False)},
        {"embedding": EmbeddingConfig(12, shared=False), "decoder": DecoderConfig(inputless="zeros")},
        {"decoder": DecoderConfig(latent=("concat", "add"), tied=True)},
    ],
    ids=["default", "embeddings apart", "inputless", "tied"],
)
def test_every_trainable_parameter_is_used_as_ddp_demands(family: Kind, options: dict[str, Any]) -> None:
    model = small(family, **options)
    if not model.automatic_optimization:
        pytest.skip("averages its gradients itself, those of unused parameters as zeros")
    model.objective(BATCH).loss.mean().backward()
    unused = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not unused


def test_a_checkpoint_brings_the_model_back(family: Kind, tmp_path: Path) -> None:
    model = small(family)
    file = tmp_path / "last.ckpt"
    fit(model, SENTENCES, epochs=1).save_checkpoint(file)
    assert torch.load(file, weights_only=True)["family"] == family.__name__
    loaded = load_model(file)
    assert type(loaded) is family and not loaded.training
    model.eval()
    assert_same(loaded.objective(BATCH).terms, model.objective(BATCH).terms, atol=0)
    assert torch.equal(written(loaded, BATCH), written(model, BATCH))


def test_a_resumed_training_ends_where_an_unbroken_one_does(family: Kind, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "encoder": EncoderConfig(hidden_size=14, dropout=0.2),
        "decoder": DecoderConfig(hidden_size=13, dropout=0.2, word_dropout=0.2),
        "corruption": CorruptionConfig(drop=0.2),
    }
    unbroken, broken, resumed = (small(family, **options) for _ in range(3))
    fit(unbroken, SENTENCES, epochs=3, batch=5)
    file = tmp_path / "last.ckpt"
    fit(broken, SENTENCES, epochs=1, batch=5).save_checkpoint(file)
    data = loader(SENTENCES, BatchingConfig(sentences=5), training=True)
    trainer(max_epochs=3).fit(resumed, data, ckpt_path=file)
    assert_same(resumed.state_dict(), unbroken.state_dict(), atol=0)


# A batch of 3, split 2 and 1, and one of 1, at which the second rank only keeps step.
UNEVEN = [[*sentence, 5] for sentence in sentences(9, most=3)] + [[6, 7, 8, 9, 10, 11, 12, 13]]
BATCHING = BatchingConfig(sentences=3, tokens=14)


@pytest.fixture(scope="module", params=[2, pytest.param(10, marks=pytest.mark.slow)], ids="{}_epochs".format)
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder in which two processes, started once for all families, left what each of them trained; the epochs."""
    epochs: int = request.param

    def train(folder: Path) -> None:
        torch.multiprocessing.spawn(train_on_a_rank, (2, str(folder), UNEVEN, BATCHING, epochs), nprocs=2)

    return left_once(tmp_path_factory, f"ranks_{epochs}", train), epochs


def test_two_ranks_take_the_steps_of_one(family: Kind, ranks: tuple[Path, int]) -> None:
    folder, epochs = ranks
    data = loader(UNEVEN, BATCHING, training=True)
    sizes = {len(rows) for rows in data.sampler.global_batches()}
    assert {1, 3} <= sizes
    for rank in range(2):
        error = folder / f"{family.__name__}.{rank}.error"
        assert not error.exists(), error.read_text()
    model = plain(family)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    trainer(max_epochs=epochs).fit(model, data)
    moved = {name: float((model.state_dict()[name] - value).abs().max()) for name, value in start.items()}
    for part, _ in model.named_children():  # the generator as well as the backbone
        own = [moved[name] for name, value in model.named_parameters() if name.startswith(f"{part}.")]
        assert not own or max(own) > 1e-3, part
    for rank in range(2):
        found = torch.load(folder / f"{family.__name__}.{rank}.pt", weights_only=True)
        assert_same(found, model.state_dict(), atol=1e-5)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one process left what it trained of every family on the stand-in for a GPU."""

    def train(folder: Path) -> None:
        torch.multiprocessing.spawn(train_on_a_stand_in, (str(folder), UNEVEN, BATCHING, BATCH), nprocs=1)

    return left_once(tmp_path_factory, "stand_in", train)


@needs_stand_in
@pytest.mark.parametrize("precision", ON_STAND_IN)
def test_another_device_has_all_of_a_step_and_is_not_waited_for(family: Kind, precision: str, stand_in: Path) -> None:
    name = f"{family.__name__}.{precision}"
    error = stand_in / f"{name}.error"
    assert not error.exists(), error.read_text()
    found = torch.load(stand_in / f"{name}.pt", weights_only=True)
    scales = SCALES if precision == "16-mixed" else set()
    assert set(found["waits"]) - scales == WAITS.get(family.__name__, set())
    model = noisy(family, precision)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    trainer(max_epochs=1).fit(model, loader(UNEVEN, BATCHING, training=True))
    terms = model.eval().objective(BATCH).terms
    if precision == "32-true":
        assert_same(found["state"], model.state_dict(), atol=1e-5)
        assert_same(found["terms"], terms, atol=1e-4)
        assert torch.equal(found["written"], written(model, BATCH))
        assert_same(found["afterwards"], terms, atol=1e-4)
    else:
        assert_same(found["terms"], terms, atol=0.1)
        assert any(not torch.equal(value, start[key]) for key, value in found["state"].items())
