"""Questions answered by an autoencoder of text (Livne et al. 2020, section 4.6). N pairs, Z latent size."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.errors import require
from datamodules.vocabulary import UNK
from lightning_modules.base import TextAutoencoder
from lightning_modules.decoding.decode import DecodingConfig, decode
from lightning_modules.decoding.encoding import encode_text
from lightning_modules.randomness import SentenceRandom

MARK = "?"
# Yahoo Answers has line breaks as tags.
TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def answer_distances(model: TextAutoencoder, questions: Sequence[str], answers: Sequence[str], seed: int = 0) -> Tensor:
    """How far each question's latent moves when its answer becomes known; the best answer moves it least.

    The norm of (z_unk - z) / sigma_unk, elementwise: z is drawn from the posterior of the question, `?` and the answer,
    z_unk from that of the question, `?` and as many unknown words, whose standard deviation is sigma_unk. A family
    without a posterior density has the means, and a sigma of 1.

    Args:
        model: Any family with a latent.
        questions: N of them, whitespace-tokenised; a `?` at the end stands for the one that is put there.
        answers: One for each, likewise.
        seed: Of the draws.

    Returns:
        (N,) float64.
    """
    counts = [len(answer.split()) for answer in answers]
    known = encode_text(
        model, [f"{_asked(question)} {answer}" for question, answer in zip(questions, answers, strict=True)]
    )
    unknown = encode_text(model, _unanswered(model, questions, counts))
    random = SentenceRandom(torch.arange(len(counts), device=model.device), seed, -1)
    if not model.stochastic:
        return torch.linalg.vector_norm((unknown.mean - known.mean).double(), dim=1)
    z_NZ, z_unk_NZ = (
        posterior.sample(random.normal(stream, model.latent_size))
        for posterior, stream in ((known, "answer"), (unknown, "question"))
    )
    return torch.linalg.vector_norm((z_unk_NZ - z_NZ).double() / unknown.std.double(), dim=1)


def written_answers(
    model: TextAutoencoder, questions: Sequence[str], words: int, decoding: DecodingConfig, seed: int = 0
) -> list[str]:
    """An answer to each question: what the decoder writes past the first `?` in place of unknown words.

    Args:
        model: Any family with a latent.
        questions: Whitespace-tokenised.
        words: How many unknown words ask for an answer; it may have more or fewer.
        decoding: How it is written; the paper's is greedy without `<unk>`.
        seed: Of the draws of z.

    Returns:
        The answers, without tags such as `<br>`; empty where the decoder wrote no `?`.

    Raises:
        UsageError: `?` is no word of the model's.
    """
    known = model.vocabulary.token_to_id(MARK) is not None
    require(known, f"{MARK} is no word of the model's, so it can write no answer: take one of questions and answers")
    posterior = encode_text(model, _unanswered(model, questions, [words] * len(questions)))
    random = SentenceRandom(torch.arange(len(questions), device=model.device), seed, -1)
    texts = decode(model, model.draw_latents(posterior, random, "question"), decoding, random)
    # Of a text with spaces at both ends a mark may be the first word, or the last.
    return [" ".join(TAG.sub(" ", f" {text} ".partition(f" {MARK} ")[2]).split()) for text in texts]


def _asked(question: str) -> str:
    return question if question.split()[-1] == MARK else f"{question} {MARK}"


def _unanswered(model: TextAutoencoder, questions: Sequence[str], counts: Sequence[int]) -> list[str]:
    unknown = str(model.vocabulary.id_to_token(UNK))
    return [" ".join([_asked(question), *[unknown] * count]) for question, count in zip(questions, counts, strict=True)]
