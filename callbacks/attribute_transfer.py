"""Changing one attribute of sentences by adding a vector to their latents (Shen et al. 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from callbacks.attached import callbacks_of, corpus_of
from callbacks.attribute_data import AttributeData, attribute_data, check_attribute
from callbacks.attribute_files import AttributeFiles
from callbacks.attribute_judges import GrammarJudge, Judge, learned_judge
from callbacks.classifier_judge import ClassifierConfig
from callbacks.language_judge import JudgeConfig
from callbacks.measured import log_figure
from callbacks.tables import log_figures, log_table
from datamodules import Reviews, TextDataModule
from datamodules.errors import require
from lightning_modules import TextAutoencoder, TextModel
from lightning_modules.decoding.arithmetic import attribute_vector, moved, sentence_means
from lightning_modules.metrics.bleu import bleu

COPY = "copy"
Row = dict[str, Any]


class AttributeTransfer(Callback):
    """Gives sentences an attribute's other value, and judges what comes out.

    The vector is the mean posterior mean of sentences with the second value minus that of sentences with the first. It
    is added to the posterior means of other sentences with the first value, and subtracted from those of sentences with
    the second; all are decoded greedily. On the corpus `reviews` the grammar judges (`GrammarJudge`), elsewhere a
    classifier and a language model that the first rank trains, with a fixed seed (`LearnedJudge`): minutes.

    A test gives, at the first of the scales, as `test/<attribute>_<figure>`, from the first value to the second:

    - `accuracy`, and with `reviews` `content` and `grammatical`, elsewhere `perplexity`: see the judges;
    - `input_bleu`: corpus BLEU-4 against the inputs;
    - `bleu`: against the references, where there are any; those of `tense` on `reviews` are the sentences' own forms in
      the other tense;
    - `copy_accuracy`, `copy_bleu`, `copy_perplexity`: the same of copying the input (its accuracy under the grammar is
      0, its BLEU against the inputs 1);
    - `reverse_accuracy`, `reverse_copy_accuracy`: from the second value to the first;
    - `classifier_accuracy`: the classifier's own, on the true sentences that are changed, both values together.

    All directions and scales with their baseline go to the terminal, `samples/<attribute>_transfer.json` and `.txt` and
    W&B; sentences to `samples/<attribute>.txt` and W&B.

    Args:
        attribute: `tense` or `sentiment` of `reviews`, `sentiment` of `Yelp`, `label` of other corpora with labels 0
            and 1; any word for what files hold.
        files: Sentences that are not the corpus'. Where the corpus' labels hold the attribute, the vector alone is made
            of them, else they also train the classifier, without those that are changed.
        scales: Factors on the vector.
        sentences: Sentences of the training split of which the vector is made, where there are no files.
        judge_sentences: Sentences of the training split that train the classifier, if they are labelled, and the
            language model.
        shown: Sentences in the table.
        classifier: The classifier.
        language_model: The language model.
    """

    def __init__(
        self,
        attribute: str = "tense",
        files: AttributeFiles | None = None,
        scales: tuple[float, ...] = (1.0, 1.5, 2.0),
        sentences: int = 10_000,
        judge_sentences: int = 20_000,
        shown: int = 20,
        classifier: ClassifierConfig = ClassifierConfig(),
        language_model: JudgeConfig = JudgeConfig(),
    ) -> None:
        require(attribute.isalnum(), f"AttributeTransfer's attribute is {attribute!r}: give one word")
        require(len(scales) > 0, "AttributeTransfer has no scales: give one or more factors on the vector")
        for name, count in (("sentences", sentences), ("judge_sentences", judge_sentences)):
            require(count > 0, f"AttributeTransfer's {name} is {count}: give 1 or more")
        self.attribute = attribute
        self.files = files
        self.scales = scales
        self.sentences = sentences
        self.judge_sentences = judge_sentences
        self.shown = shown
        self.classifier = classifier
        self.language_model = language_model
        self.table: Table | None = None

    @property
    def state_key(self) -> str:
        """One study for each attribute."""
        return self._generate_state_key(attribute=self.attribute)

    def check(self, trainer: Trainer, model: TextModel, corpus: TextDataModule, stage: str) -> None:
        """Checks, before anything is trained or tested, that there are a latent and sentences of both values.

        Raises:
            UsageError: There are not, or another study is of the same attribute.
        """
        remedy = "take it out of trainer.callbacks"
        has_latent, kind = isinstance(model, TextAutoencoder), type(model).__name__
        require(has_latent, f"AttributeTransfer needs a latent, and a {kind} has none: {remedy}")
        same = [c for c in callbacks_of(trainer) if isinstance(c, AttributeTransfer) and c.attribute == self.attribute]
        # Figures that are logged twice under a name would become their mean.
        require(
            len(same) == 1, f"there are {len(same)} AttributeTransfer with the attribute {self.attribute}: {remedy}"
        )
        if stage in ("fit", "test"):
            check_attribute(corpus, self.attribute, self.files)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See `check`."""
        assert isinstance(pl_module, TextModel)
        self.check(trainer, pl_module, corpus_of(trainer), stage)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the vector, moves the sentences, and logs."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TextAutoencoder)
        data = attribute_data(trainer, pl_module, self.attribute, self.files, self.sentences, self.judge_sentences)
        judge = self._judge(trainer, pl_module, data)
        written = self._write(pl_module, data)
        rows = {place: self._row(judge, data, *place, sentences) for place, sentences in written.items()}
        for name, value in self._headlines(judge, rows).items():
            # Of the sentences of one value, or of those that the classifier was tried on.
            counted = (
                {} if name == "classifier_accuracy" else {"sentences": len(data.changed[name.startswith("reverse")])}
            )
            log_figure(pl_module, f"{self.attribute}_{name}", value, **counted)
        self._show(trainer, data, written)
        counts = {name: [len(side) for side in getattr(data, name)] for name in ("vector", "changed")}
        record = {"values": data.values, "sentences": counts, "classifier_accuracy": judge.classifier_accuracy}
        self.table = log_figures(trainer, f"{self.attribute}_transfer", list(rows.values()), record)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the table, now that no progress bar is in the way."""
        if self.table is not None:
            Console(markup=False).print(self.table)
            self.table = None

    def _judge(self, trainer: Trainer, model: TextAutoencoder, data: AttributeData) -> Judge:
        corpus = corpus_of(trainer)
        if isinstance(corpus, Reviews) and self.attribute in corpus.attributes:
            return GrammarJudge(corpus.grammar, self.attribute)
        return learned_judge(trainer, model, data, self.judge_sentences, self.classifier, self.language_model)

    def _write(self, model: TextAutoencoder, data: AttributeData) -> dict[tuple[int, str], list[str]]:
        """Sentences by the value that they had and the scale, the inputs before all scales."""
        vector_Z = attribute_vector(model, *data.vector)
        written: dict[tuple[int, str], list[str]] = {}
        for value, inputs in enumerate(data.changed):
            means_NZ = sentence_means(model, inputs)
            written[value, COPY] = list(inputs)
            for scale in self.scales:
                written[value, f"{scale:g}"] = moved(model, means_NZ, vector_Z, -scale if value else scale)
        return written

    def _row(self, judge: Judge, data: AttributeData, value: int, scale: str, sentences: list[str]) -> Row:
        inputs = data.changed[value]
        row: Row = {"direction": f"{data.values[value]} -> {data.values[1 - value]}", "scale": scale}
        row |= judge(inputs, sentences, 1 - value) | {"input_bleu": bleu(sentences, inputs)}
        return row | ({} if data.references is None else {"bleu": bleu(sentences, data.references[value])})

    def _headlines(self, judge: Judge, rows: dict[tuple[int, str], Row]) -> dict[str, float]:
        """The figures at the first scale, without `test/<attribute>_`."""
        first = f"{self.scales[0]:g}"
        figures = {name: value for name, value in rows[0, first].items() if name not in ("direction", "scale")}
        figures |= {f"copy_{name}": rows[0, COPY][name] for name in judge.baselines if name in figures}
        figures["reverse_accuracy"] = rows[1, first]["accuracy"]
        if judge.classifier_accuracy is not None:
            figures["reverse_copy_accuracy"] = rows[1, COPY]["accuracy"]
            figures["classifier_accuracy"] = judge.classifier_accuracy
        return figures

    def _show(self, trainer: Trainer, data: AttributeData, written: dict[tuple[int, str], list[str]]) -> None:
        """Some sentences of both directions with what became of them."""
        scales = [f"{scale:g}" for scale in self.scales]
        blocks = []
        for value, inputs in enumerate(data.changed):
            picked = np.random.default_rng(0).permutation(len(inputs))[: (self.shown + 1 - value) // 2]
            for row in picked:
                block = [data.values[1 - value], inputs[row], *(written[value, scale][row] for scale in scales)]
                blocks.append(block + ([] if data.references is None else [data.references[value][row]]))
        reference = [] if data.references is None else ["reference"]
        log_table(trainer, self.attribute, ["to", "sentence", *(f"x {scale}" for scale in scales), *reference], blocks)
