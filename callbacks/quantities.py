"""What the figures of a test are: each number says what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "exact",  # -log p(x) itself
    "upper bound",  # of -log p(x) under the prior N(0, I)
    "importance-weighted",  # an upper bound in expectation, which falls with the number of samples
    "MELBO",  # a bound under another prior, the test set's own posteriors; it grows with the logarithm of their number
    "no bound",  # a paper's quantity that says nothing of log p(x) under N(0, I)
    "part",  # a term of one of these
    "estimate",
    "score",
]
# Which tokens a likelihood and a perplexity count.
EOS_IN_BOTH = "EOS in likelihood and tokens, BOS in neither"


@dataclass(frozen=True)
class Quantity:
    """What a figure is.

    Attributes:
        kind: How it stands to -log p(x), or that it does not.
        meaning: In a line.
        convention: Which tokens count, where that matters.
    """

    kind: Kind
    meaning: str
    convention: str | None = None


# Kinds that are compared with the entropy floor, where there is one.
LIKELIHOODS: tuple[Kind, ...] = ("exact", "upper bound", "importance-weighted", "MELBO", "no bound")
QUANTITIES = {
    "floor": Quantity("exact", "-log p*(x) of the same sentences, p* the grammar's probability; nats", EOS_IN_BOTH),
    "nll": Quantity("exact", "-log p(x), nats a sentence", EOS_IN_BOTH),
    "negative_elbo": Quantity("upper bound", "negative ELBO, nats a sentence", EOS_IN_BOTH),
    "perplexity": Quantity("upper bound", "exp(nats a token) of the NLL or its bound", EOS_IN_BOTH),
    "nll_iw": Quantity("importance-weighted", "-log of the mean importance weight, nats a sentence", EOS_IN_BOTH),
    "perplexity_iw": Quantity("importance-weighted", "exp(nats a token) of it", EOS_IN_BOTH),
    "nll_iw_kl_once": Quantity("no bound", "with one ratio for several latents, nats a sentence", EOS_IN_BOTH),
    "perplexity_iw_kl_once": Quantity("no bound", "exp(nats a token) of it", EOS_IN_BOTH),
    "melbo": Quantity("MELBO", "-log p(x|z) + ln N of the N test sentences, nats a sentence", EOS_IN_BOTH),
    "perplexity_melbo": Quantity("MELBO", "exp(nats a token) of it", EOS_IN_BOTH),
    "melbo_sentences": Quantity("score", "N of MELBO"),
    "melbo_log10_sentences_to_meet": Quantity("estimate", "log10 of the N at which MELBO is as large as asked"),
    "nll_kl_once": Quantity("no bound", "the paper's, one KL for several latents; nats a sentence", EOS_IN_BOTH),
    "perplexity_kl_once": Quantity("no bound", "exp(nats a token) of it", EOS_IN_BOTH),
    "conditional_perplexity": Quantity("no bound", "exp(nats a token) of -log p(x|z) alone", EOS_IN_BOTH),
    "reconstruction": Quantity("part", "-log p(x|z), z from the posterior, nats a sentence", EOS_IN_BOTH),
    "objective": Quantity("part", "reconstruction + KL at its final weight, by which checkpoints are chosen"),
    "kl": Quantity("part", "KL(q(z|x) || N(0, I)), nats a sentence"),
    "mim_loss": Quantity("part", "-log p(x|z) - (log q(z|x) + log p(z)) / 2, nats a sentence"),
    "mi_loss": Quantity("part", "log p(z) - log q_MI(z|states), nats: L_MI of Vani & Birodkar"),
    "adversarial": Quantity("part", "-log D(z), nats (ln 2 = 0.69 where D cannot tell)"),
    "discriminator": Quantity("part", "-log D(z') - log(1 - D(z)), nats (2 ln 2 = 1.39 where D cannot tell)"),
    "log_variance": Quantity("part", "sum over dimensions of |log sigma^2|"),
    "wasserstein": Quantity("part", "the critic's f(z) - f(G(s))"),
    "active_units": Quantity("score", "dimensions whose posterior mean varies by more than the threshold"),
    "mutual_information": Quantity("estimate", "I(x; z) with the split's aggregate posterior, nats"),
    "mutual_information_ceiling": Quantity("score", "ln of the split's size, which I(x; z) cannot exceed"),
    "reconstruction_bleu": Quantity("score", "BLEU-4 of greedy reconstructions from the posterior's mean"),
    "reconstruction_exact": Quantity("score", "share of sentences that come back word for word"),
    "prior_grammatical": Quantity("score", "share of greedy prior samples in the grammar's language"),
    "prior_grammatical_sampled": Quantity("score", "the same of sampled ones"),
    "tense_accuracy": Quantity("score", "share of present sentences that + tense vector puts into the past"),
    "tense_bleu": Quantity("score", "BLEU-4 of these against each sentence's own past form"),
    "tense_copy_bleu": Quantity("score", "baseline: BLEU-4 of copying the input (its accuracy is 0)"),
    "knn_purity": Quantity("score", "share of the nearest neighbours in z that have the same label"),
}
UNKNOWN = Quantity("score", "")
