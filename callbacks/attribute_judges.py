"""Who judges changed sentences: the grammar, exactly, or models that are trained for the purpose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from pytorch_lightning import Trainer

from callbacks.attribute_data import AttributeData, labelled
from callbacks.classifier_judge import ClassifierConfig, Labelled, TextClassifier, accuracy, train_classifier
from callbacks.language_judge import JudgeConfig, judged_perplexity, train_judge
from callbacks.latents import batches_of, draw_rows
from datamodules.grammar import ReviewGrammar
from lightning_modules import LanguageModel, TextModel
from lightning_modules.decoding.text import batch_text, text_batches


class Judge(ABC):
    """Says how well sentences were changed.

    Attributes:
        baselines: Its figures that copying the input does not have by definition.
        classifier_accuracy: The judge's own, on the true sentences that are changed; null where it is exact.
    """

    baselines: tuple[str, ...] = ("bleu",)
    classifier_accuracy: float | None = None

    @abstractmethod
    def __call__(self, inputs: Sequence[str], written: Sequence[str], value: int) -> dict[str, float]:
        """Figures of sentences that were to get the value."""


class GrammarJudge(Judge):
    """The grammar of the corpus `reviews`, which knows.

    - `accuracy`: share of the sentences whose words that bear the attribute are all of the value, one at least;
    - `content`: share of the inputs' words that do not bear the attribute which the changed sentences have, too, each
      as often as it is there, wherever it stands;
    - `grammatical`: share of the sentences in the grammar's language.
    """

    def __init__(self, grammar: ReviewGrammar, attribute: str) -> None:
        self.grammar = grammar
        self.attribute = attribute

    def __call__(self, inputs: Sequence[str], written: Sequence[str], value: int) -> dict[str, float]:
        """Counts."""
        count = max(1, len(written))
        kept = words = 0
        for sentence, changed in zip(inputs, written, strict=True):
            content = Counter(self.grammar.content(sentence, self.attribute))
            kept += (content & Counter(changed.split())).total()
            words += content.total()
        return {
            "accuracy": sum(self.grammar.value(changed, self.attribute) == value for changed in written) / count,
            "content": kept / max(1, words),
            "grammatical": sum(map(self.grammar.is_grammatical, written)) / count,
        }


class LearnedJudge(Judge):
    """Models of true sentences.

    - `accuracy`: share of the sentences that a classifier says have the value;
    - `perplexity`: of the sentences under a language model of the corpus, EOS counted in both.
    """

    baselines = ("accuracy", "bleu", "perplexity")

    def __init__(self, classifier: TextClassifier, language_model: LanguageModel, classifier_accuracy: float) -> None:
        self.classifier = classifier
        self.language_model = language_model
        self.classifier_accuracy = classifier_accuracy

    def __call__(self, inputs: Sequence[str], written: Sequence[str], value: int) -> dict[str, float]:
        """Asks both."""
        batches = text_batches(self.language_model.vocabulary, written)
        return {
            "accuracy": accuracy(self.classifier, Labelled(written, [value] * len(written))),
            "perplexity": judged_perplexity(self.language_model, batches),
        }


def learned_judge(
    trainer: Trainer,
    model: TextModel,
    data: AttributeData,
    sentences: int,
    classifier: ClassifierConfig,
    language_model: JudgeConfig,
) -> LearnedJudge:
    """Trains a classifier on the data's labelled sentences, and a language model on up to `sentences` of the corpus."""
    assert data.train is not None and data.valid is not None
    words, device, seed = model.vocabulary, model.device, model.seed
    trained = train_classifier(data.train, data.valid, words, classifier, device, seed)
    drawn = batches_of(trainer, model, "train", draw_rows(trainer, "train", sentences))
    corpus = [sentence for batch in drawn for sentence in batch_text(words, batch)]
    own = accuracy(trained, labelled(data.changed))
    return LearnedJudge(trained, train_judge(corpus, words, language_model, device, seed), own)
