"""How well a model finds the last words of sentences (Bowman et al. 2016, section 5).

B sentences, T steps, S rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import track
from torch import Tensor

from callbacks.adversarial_error import TENTHS, adversarial_error
from callbacks.attached import corpus_of
from callbacks.classifier_judge import ClassifierConfig
from callbacks.language_judge import JudgeConfig, judged_nll, train_judge
from callbacks.latents import batches_of, draw_rows, read_batch
from callbacks.measured import log_figure
from callbacks.tables import log_table
from datamodules import Reviews
from datamodules.batch import TokenBatch
from datamodules.bucketing import Rows
from datamodules.errors import require
from datamodules.vocabulary import UNK
from lightning_modules import TextModel
from lightning_modules.decoding.imputation import Imputed, beam_width, impute, imputed_together, last_words
from lightning_modules.decoding.text import batch_text

UNIGRAM = ClassifierConfig("unigram", epochs=100, lr=1e-2)
LSTM = ClassifierConfig("lstm")


@dataclass(frozen=True)
class Endings:
    """Sentences of about one length, and what the model made of their last words.

    Attributes:
        true: As they are.
        missing: (B, T) which words were imputed.
        imputed: As the model completes them.
    """

    true: TokenBatch
    missing: Tensor
    imputed: Imputed


class Imputation(Callback):
    """The final share of test sentences, found by the model from the rest, and how far that is from the truth.

    Half of the sentences get imputed endings, the other half stay as they are. Bowman et al. split one set of 320,000
    sentences into 50% complete and 50% imputed ones, which is read so: no sentence is in both halves, as a two-sample
    test has it, and none can be known by its other version. A test gives

    - `test/adversarial_error_unigram`, `test/adversarial_error_lstm`: the held-out accuracy of a classifier that tells
      the halves apart, minus 50%; a logistic regression on word counts, and an LSTM that reads the sentence; both are
      trained on 80% of the sentences, stopped by 10% and judged by the last 10%;
    - `test/imputed_exact`: the share of missing words that are found, each at its place;
    - `test/imputed_nll`: -log p of sentences with imputed endings under a language model of training sentences, nats a
      sentence; `test/imputed_nll_true` of the same sentences as they are;
    - `test/imputed_search_change`, `test/imputed_latent_change`: by how much log p(x|z) changed in all rounds after
      the first, nats, the mean over sentences: in the searches, and when z moved to the mode of a round's sentence;
      not of a language model, nor of one round;
    - `test/imputed_grammatical`, on the corpus `reviews`: the share of sentences that stay in the grammar's language;

    besides `samples/imputations.txt` and a W&B table. Sentences with an unknown word in their final share are left
    out of both halves: no model writes that word, by which alone a classifier would know them. The first rank alone
    does all this. It takes minutes, so it is not part of `make evaluate`.

    Args:
        sentences: Sentences drawn from the test split, both halves together (all of it, if it has fewer).
        share: Of a sentence's words, rounded up.
        beam: Its width; where it is null 5 for a model with a latent and 5 * `rounds`, as much computation, for a
            language model.
        rounds: S, of iterated conditional modes; a language model takes one.
        judge_sentences: Training sentences of which the judging language model learns, at most.
        shown: Sentences in the table.
        unigram: The logistic regression.
        lstm: The LSTM.
        language_model: Which judges.
    """

    def __init__(
        self,
        sentences: int = 10_000,
        share: float = 0.2,
        beam: int | None = None,
        rounds: int = 3,
        judge_sentences: int = 10_000,
        shown: int = 20,
        unigram: ClassifierConfig = UNIGRAM,
        lstm: ClassifierConfig = LSTM,
        language_model: JudgeConfig = JudgeConfig(),
    ) -> None:
        for name, value in {"sentences": sentences, "rounds": rounds, "judge_sentences": judge_sentences}.items():
            require(value > 0, f"Imputation's {name} is {value}: give 1 or more")
        require(0 < share <= 1, f"Imputation's share is {share}: give a number above 0, up to 1")
        require(beam is None or beam > 0, f"Imputation's beam is {beam}: give 1 or more")
        self.sentences = sentences
        self.share = share
        self.beam = beam
        self.rounds = rounds
        self.judge_sentences = judge_sentences
        self.shown = shown
        self.unigram = unigram
        self.lstm = lstm
        self.language_model = language_model
        self.rows: Rows = np.arange(0)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the sentences, on every rank: where they are too few, all of them stop."""
        assert isinstance(pl_module, TextModel)
        drawn = draw_rows(trainer, "test", self.sentences)
        known = [_endings_known(batch, self.share) for batch in batches_of(trainer, pl_module, "test", drawn)]
        rows = drawn[torch.cat(known).cpu().numpy()]
        require(
            len(rows) >= 2 * TENTHS,
            f"Imputation splits test sentences into two halves and these 80/10/10, for which it needs {2 * TENTHS}, "
            f"and {len(rows)} of the {len(drawn)} drawn have known words at their end: use a larger test split, or "
            "take Imputation out of trainer.callbacks",
        )
        self.rows = np.random.default_rng(0).permutation(rows)[: len(rows) // 2 * 2]

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Imputes, trains the judges, measures and shows."""
        assert isinstance(pl_module, TextModel)
        if not trainer.is_global_zero:
            return
        words, corpus = pl_module.vocabulary, corpus_of(trainer)
        found = self._impute(trainer, pl_module, self.rows[0::2])
        texts = [text for part in found for text in batch_text(words, part.imputed.batch)]
        others = batches_of(trainer, pl_module, "test", self.rows[1::2])
        whole = [text for batch in others for text in batch_text(words, batch)]
        figures = _changes(found) | self._likelihoods(trainer, pl_module, found)
        figures["imputed_exact"] = exact(found)
        silent = trainer.progress_bar_callback is None
        for config in track((self.unigram, self.lstm), "adversaries", disable=silent, transient=True):
            value, error = adversarial_error(whole, texts, words, config, pl_module.device, pl_module.seed)
            figures[f"adversarial_error_{config.kind}"] = value
            figures[f"adversarial_error_{config.kind}/error"] = error
        if isinstance(corpus, Reviews):
            figures["imputed_grammatical"] = sum(map(corpus.grammar.is_grammatical, texts)) / len(texts)
        for name, number in figures.items():
            counted = {} if "/" in name else {"sentences": len(texts)}
            log_figure(pl_module, name, number, **counted)
        rows = [row for part in found for row in _shown(part, pl_module)]
        picked = np.random.default_rng(0).permutation(len(rows))[: self.shown]
        log_table(trainer, "imputations", ["known", "true", "imputed"], [rows[i] for i in picked])

    def _impute(self, trainer: Trainer, model: TextModel, rows: Rows) -> list[Endings]:
        """The sentences with their endings imputed, a group of about one length at a time."""
        width = self.beam or beam_width(model, self.rounds)
        groups = imputed_together(model, corpus_of(trainer).split("test").lengths[rows], width)
        silent = trainer.progress_bar_callback is None
        found = []
        for group in track(groups, "imputing", disable=silent, transient=True):
            batch = read_batch(trainer, model, "test", rows[group])
            missing_BT = last_words(batch, self.share)
            found.append(Endings(batch, missing_BT, impute(model, batch, missing_BT, width, self.rounds)))
        return found

    def _likelihoods(self, trainer: Trainer, model: TextModel, found: Sequence[Endings]) -> dict[str, float]:
        """What a language model that never saw the model says of the sentences."""
        train = batches_of(trainer, model, "train", draw_rows(trainer, "train", self.judge_sentences))
        sentences = [text for batch in train for text in batch_text(model.vocabulary, batch)]
        judge = train_judge(sentences, model.vocabulary, self.language_model, model.device, model.seed)
        return {
            "imputed_nll": judged_nll(judge, [part.imputed.batch for part in found]),
            "imputed_nll_true": judged_nll(judge, [part.true for part in found]),
        }


def exact(found: Sequence[Endings]) -> float:
    """The share of all missing words that were found."""
    right = sum(int((part.imputed.batch.targets == part.true.targets)[part.missing].sum()) for part in found)
    return right / sum(int(part.missing.sum()) for part in found)


def _endings_known(batch: TokenBatch, share: float) -> Tensor:
    """(B,), whether none of the words that will be missing is the unknown one."""
    return ~((batch.targets == UNK) & last_words(batch, share)).any(1)


def _changes(found: Sequence[Endings]) -> dict[str, float]:
    """How log p(x|z) moved after the first round, nats, the means over sentences; none where it could not move."""
    log_p_SB = torch.cat([part.imputed.log_probability for part in found], dim=1)
    latent_B = torch.cat([part.imputed.latent_change for part in found], dim=1).sum(0)
    if len(log_p_SB) == 1:
        return {}
    search_B = log_p_SB[-1] - log_p_SB[0] - latent_B
    return {"imputed_search_change": float(search_B.mean()), "imputed_latent_change": float(latent_B.mean())}


def _shown(part: Endings, model: TextModel) -> list[list[str]]:
    """Of each sentence the known words, the true ending and the imputed one."""
    missing_B = part.missing.sum(1).tolist()
    sides = (batch_text(model.vocabulary, batch) for batch in (part.true, part.imputed.batch))
    rows = []
    for true, imputed, missing in zip(*sides, missing_B, strict=True):
        words, changed = true.split(), imputed.split()
        rows.append([" ".join(side) for side in (words[:-missing], words[-missing:], changed[-missing:])])
    return rows
