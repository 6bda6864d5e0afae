"""What the figures of a test are: each number says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from lightning_modules.metrics.perplexity import CONVENTIONS, WITHOUT_EOS
from lightning_modules.metrics.perplexity import DEFAULT_CONVENTION as EOS_IN_BOTH

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


@dataclass(frozen=True)
class Quantity:
    """What a figure is.

    Attributes:
        kind: How it stands to -log p(x), or that it does not.
        meaning: In a line.
        convention: Which tokens count, where that matters: a name of `metrics.perplexity.CONVENTIONS`.
    """

    kind: Kind
    meaning: str
    convention: str | None = None


# The convention of nats without EOS, whatever a perplexity divides them by.
EOS_IN_NEITHER = "eos_in_neither"
# Kinds that are compared with the entropy floor, where there is one.
LIKELIHOODS: tuple[Kind, ...] = ("exact", "upper bound", "importance-weighted", "MELBO", "no bound")
# From where reconstructions are decoded.
STARTS = {"mean": "the posterior's mean", "posterior": "a posterior sample"}
QUANTITIES = {
    "floor": Quantity("exact", "-log p*(x) of the same sentences, p* the grammar's probability; nats", EOS_IN_BOTH),
    "nll": Quantity("exact", "-log p(x), nats a sentence", EOS_IN_BOTH),
    "negative_elbo": Quantity("upper bound", "negative ELBO, nats a sentence", EOS_IN_BOTH),
    "perplexity": Quantity("upper bound", "exp(nats a token) of the NLL or its bound", EOS_IN_BOTH),
    "nll_iw": Quantity(
        "importance-weighted",
        "-log of the mean weight of K independent samples, each of L latents where L > 1; nats a sentence",
        EOS_IN_BOTH,
    ),
    "perplexity_iw": Quantity("importance-weighted", "exp(nats a token) of it", EOS_IN_BOTH),
    "nll_iw_kl_once": Quantity(
        "no bound",
        "of the same samples, with the geometric mean of a sample's L ratios for their product; nats a sentence",
        EOS_IN_BOTH,
    ),
    "perplexity_iw_kl_once": Quantity("no bound", "exp(nats a token) of it", EOS_IN_BOTH),
    "melbo": Quantity("MELBO", "-log p(x|z) + ln N of the N test sentences, nats a sentence", EOS_IN_BOTH),
    "perplexity_melbo": Quantity("MELBO", "exp(nats a token) of it", EOS_IN_BOTH),
    "melbo_log10_sentences_to_meet": Quantity("estimate", "log10 of the N at which MELBO is as large as asked"),
    "nll_kl_once": Quantity("no bound", "the paper's, one KL for several latents; nats a sentence", EOS_IN_BOTH),
    "perplexity_kl_once": Quantity("no bound", "exp(nats a token) of it", EOS_IN_BOTH),
    "conditional_perplexity": Quantity("no bound", "exp(nats a token) of -log p(x|z) alone", EOS_IN_BOTH),
    "reconstruction": Quantity("part", "-log p(x|z), z from the posterior, nats a sentence", EOS_IN_BOTH),
    "objective": Quantity("part", "reconstruction + KL at its final weight, by which checkpoints are chosen"),
    "kl": Quantity("part", "KL(q(z|x) || N(0, I)), of one latent where L > 1; nats a sentence"),
    "mim_loss": Quantity("part", "-log p(x|z) - (log q(z|x) + log p(z)) / 2, nats a sentence"),
    "mi_loss": Quantity("part", "log p(z) - log q_MI(z|states), nats: L_MI of Vani & Birodkar"),
    "adversarial": Quantity("part", "-log D(z), nats (ln 2 = 0.69 where D cannot tell)"),
    "discriminator": Quantity("part", "-log D(z') - log(1 - D(z)), nats (2 ln 2 = 1.39 where D cannot tell)"),
    "log_variance": Quantity("part", "sum over dimensions of |log sigma^2|"),
    "wasserstein": Quantity("part", "the critic's f(z) - f(G(s))"),
    "active_units": Quantity("score", "dimensions whose posterior mean has a variance above the threshold"),
    "mutual_information": Quantity("estimate", "I(x; z) with the split's aggregate posterior, z one latent; nats"),
    "mutual_information_ceiling": Quantity("score", "ln of the split's size, which I(x; z) cannot exceed"),
    "aggregate_posterior_kl": Quantity("estimate", "KL(q(z) || N(0, I)) of the split's aggregate posterior, nats"),
    "latent_entropy": Quantity("estimate", "entropy of the codes, nats (nearest neighbours by the maximum norm)"),
    "prior_entropy": Quantity("score", "reference: entropy of N(0, I), nats, in closed form"),
    "prior_entropy_estimate": Quantity("estimate", "reference: the same estimate of as many draws from N(0, I), nats"),
    "decoder_confusion": Quantity("score", "share of pairs i, j with p(x_i|z_j) above p(x_i|z_i)"),
    "encoder_confusion": Quantity("score", "share of pairs i, j with q(z_i|x_j) above q(z_i|x_i)"),
    "reconstruction_bleu": Quantity("score", "BLEU-4 of greedy reconstructions from the posterior's mean"),
    "reconstruction_exact": Quantity("score", "share of sentences that come back word for word"),
    "interpolation_distance": Quantity("score", "mean edit distance between neighbours on a path in z, 0 to 1"),
    "interpolation_jump": Quantity("score", "the largest on a path, in the mean over paths"),
    "interpolation_repeated": Quantity("score", "share of steps on a path that leave the sentence as it is"),
    "prior_grammatical": Quantity("score", "share of greedy prior samples in the grammar's language"),
    "prior_grammatical_sampled": Quantity("score", "the same of sampled ones"),
    "knn_purity": Quantity("score", "share of the nearest neighbours in z that have the same label"),
    **{
        f"bleu_{order}_{how}_{start}": Quantity("score", f"BLEU-{order} of {how} reconstructions from {meaning}")
        for order in (1, 2, 3, 4)
        for how in ("greedy", "sampled")
        for start, meaning in STARTS.items()
    },
    **{
        f"exact_{how}_{start}": Quantity("score", f"share of {how} ones from {meaning} that are word for word")
        for how in ("greedy", "sampled")
        for start, meaning in STARTS.items()
    },
    "forward_perplexity": Quantity("score", "of prior samples, under a language model of the corpus", EOS_IN_BOTH),
    "reverse_perplexity": Quantity("score", "of the test split, under a language model of prior samples", EOS_IN_BOTH),
    "data_perplexity": Quantity("score", "reference: of the test split, under the corpus' language model", EOS_IN_BOTH),
    **{
        f"adversarial_error_{kind}": Quantity(
            "score", f"held-out accuracy of {name} on true and imputed sentences, minus 50%"
        )
        for kind, name in (("unigram", "a logistic regression on words"), ("lstm", "an LSTM"))
    },
    "imputed_exact": Quantity("score", "share of the missing last words that are found"),
    "imputed_grammatical": Quantity("score", "share of sentences with imputed endings in the grammar's language"),
    "imputed_nll": Quantity("score", "of imputed sentences, under a language model of the corpus; nats", EOS_IN_BOTH),
    "imputed_nll_true": Quantity("score", "reference: of the same sentences with their true endings", EOS_IN_BOTH),
    "imputed_search_change": Quantity("score", "change of log p(x|z) by all searches but the first, nats a sentence"),
    "imputed_latent_change": Quantity("score", "the same by the steps of z between them"),
    "distinct_1": Quantity("score", "distinct words over words of sampled prior samples"),
    "distinct_2": Quantity("score", "distinct bigrams over bigrams of the same"),
    "distinct_1_data": Quantity("score", "reference: distinct words over words of as many sentences of the split"),
    "distinct_2_data": Quantity("score", "reference: distinct bigrams over bigrams of the same"),
    "self_bleu": Quantity("score", "mean BLEU-4 of a sampled prior sample against all others"),
    **{
        f"neighborhood_recall_{k}": Quantity("score", f"share of the nearest in text among the {k} nearest in z")
        for k in range(10, 101, 10)
    },
}
# Of the transfer of an attribute, whose name comes first: `tense_accuracy`.
TRANSFER = {
    "accuracy": Quantity(
        "score", "share of sentences that + vector takes from the first value (present, negative) to the second"
    ),
    "content": Quantity("score", "share of the inputs' words without the attribute that these keep"),
    "grammatical": Quantity("score", "share of these in the grammar's language"),
    "perplexity": Quantity("score", "of these under a language model of the corpus", EOS_IN_BOTH),
    "input_bleu": Quantity("score", "BLEU-4 of these against the inputs"),
    "bleu": Quantity("score", "BLEU-4 of these against references (reviews: each sentence's own form)"),
    "copy_accuracy": Quantity("score", "baseline: accuracy of copying the input"),
    "copy_perplexity": Quantity("score", "baseline: perplexity of copying the input", EOS_IN_BOTH),
    "copy_bleu": Quantity("score", "baseline: BLEU-4 of copying the input against the references"),
    "reverse_accuracy": Quantity("score", "share of sentences that - vector takes from the second value to the first"),
    "reverse_copy_accuracy": Quantity("score", "baseline: accuracy of copying the input"),
    "classifier_accuracy": Quantity("score", "of the judging classifier, on the true sentences"),
}
UNKNOWN = Quantity("score", "")


def quantity_of(name: str, perplexities: Mapping[str, str]) -> Quantity:
    """What a figure is.

    Args:
        name: Without `test/`; a perplexity in another convention has that at its end, nats without EOS say so there.
        perplexities: Of the family, with the terms of which they are made: they are of these terms' kind.
    """
    convention = next((known for known in CONVENTIONS if name.endswith(f"_{known}")), None)
    base = name.removesuffix(f"_{convention}").removesuffix(f"_{WITHOUT_EOS}")
    if base != name and convention is None:
        convention = EOS_IN_NEITHER
    known = QUANTITIES.get(base) or TRANSFER.get(base.partition("_")[2], UNKNOWN)
    made_of = QUANTITIES.get(perplexities.get(base, base), UNKNOWN)
    kind = known.kind if known.kind == "no bound" else made_of.kind
    return replace(known, kind=kind, convention=convention or known.convention)
