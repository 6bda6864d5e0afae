"""Whatever the configuration and the corpus are, a command ends well or with one message: never with a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.cli import main

EXPERIMENTS = ("ae_ptb", "svae_ptb", "smim_ptb", "vae_avg_l5_ptb", "daae_yelp", "laae_yelp", "arae_yelp", "lm_ptb")
SMALL = {
    "trainer.max_epochs": "1",
    "trainer.limit_train_batches": "2",
    "trainer.limit_val_batches": "1",
    "trainer.limit_test_batches": "1",
    "trainer.logger": "false",
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
    "trainer.enable_model_summary": "false",
    "trainer.callbacks": "[callbacks.RunFolder, callbacks.FiniteLoss, callbacks.Reconstructions, callbacks.Summary]",
    "model.init_args.embedding.size": "4",
    "model.init_args.decoder.hidden_size": "4",
    "model.init_args.decoder.max_words": "6",
}
ENCODED = {"model.init_args.encoder.hidden_size": "4", "model.init_args.posterior.latent_size": "4"}
CHANGED = (
    *("trainer.max_epochs", "trainer.limit_train_batches", "trainer.gradient_clip_val", "trainer.val_check_interval"),
    *("trainer.precision", "trainer.accumulate_grad_batches", "trainer.devices", "trainer.log_every_n_steps"),
    *("model.init_args.embedding.size", "model.init_args.embedding.shared", "model.init_args.optimizer.lr"),
    *("model.init_args.optimizer.betas", "model.init_args.optimizer.schedule", "model.init_args.optimizer.name"),
    *(f"model.init_args.encoder.{name}" for name in ("hidden_size", "layers", "dropout", "cell", "direction", "view")),
    *(f"model.init_args.decoder.{name}" for name in ("hidden_size", "layers", "word_dropout", "latent", "direction")),
    *("model.init_args.posterior.latent_size", "model.init_args.kl_weight", "model.init_args.free_bits"),
    *("model.init_args.samples", "model.init_args.corruption.drop", "model.init_args.corruption.shuffle"),
    *("model.init_args.adversary.weight", "model.init_args.adversary.lr", "model.init_args.learned_prior.critic_steps"),
    *("data.init_args.batching.sentences", "data.init_args.batching.tokens", "data.init_args.batching.bucket_width"),
    *("data.init_args.subset.train", "data.init_args.subset.max_words", "data.init_args.subset.overflow"),
    *("data.init_args.vocabulary.size", "data.init_args.vocabulary.min_count", "data.init_args.num_workers"),
    *("last_checkpoint.every_n_train_steps", "seed_everything", "name", "nothing.of.the.kind"),
)
VALUES = st.one_of(
    st.integers(-2, 5).map(str),
    st.floats().map(str),
    st.sampled_from(["null", "true", "[]", "{}", "[1, 2]", "{a: 1}", "nan", "1e400", "", "bf16-mixed", "gru", ": {"]),
    st.text(max_size=4),
)
# Letters, what is a line's end to some, marks that are no character of their own, and bytes that are no text at all.
LINES = st.text(st.sampled_from("ab .,\t\n\r\x0b\x1c\x85\u2028\ufeff\u0301\x00é中"), max_size=60)
CONTENT = st.one_of(LINES.map(lambda text: text.encode()), st.just(b"a b c\nb c a\nc a\n" * 5), st.binary(max_size=20))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what nobody would configure
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(EXPERIMENTS),
    st.dictionaries(st.sampled_from(CHANGED), VALUES, max_size=2),
    st.tuples(CONTENT, CONTENT, CONTENT),
    st.booleans(),
)
def test_no_traceback(
    experiment: str, changes: dict[str, str], contents: tuple[bytes, bytes, bytes], is_text: bool
) -> None:
    if changes.get("trainer.devices", "1") not in ("1", "0", "-2", "null"):
        changes = {}  # several processes are another test's
    options = SMALL | ({} if experiment == "lm_ptb" else ENCODED) | changes
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
        for split, content in zip(("train", "valid", "test"), contents, strict=True):
            text = b"a b c\nb c a\nc a\n" * 5 if is_text else content
            Path(f"{split}.txt").write_bytes(text)
        os.environ.pop("TEXTAE_VERSION", None)
        words = [f"--config={experiment}", "--data.init_args.data_dir=."]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                main(["fit", *words, *(f"--{name}={value}" for name, value in options.items())])
            except SystemExit as end:
                assert end.code is None or end.code == 0 or (isinstance(end.code, str) and end.code.strip())
        assert "Traceback" not in printed.getvalue()
