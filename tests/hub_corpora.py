"""Every corpus with a hub source: what its repository holds, and the sentences that have to come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from corpora import SPLITS, vocabulary_words
from datasets import ClassLabel, Dataset, Features, Value
from hub import CONVERTED, HubStandIn

from datamodules import PTB, Books, Everything, TextDataModule, WikiText2, WikiText103, Yahoo, Yelp, YelpReviews

PTB_ID, POLARITY_ID, FULL_ID = "ptb-text-only/ptb_text_only", "fancyzhx/yelp_polarity", "Yelp/yelp_review_full"
YAHOO_ID, BOOKS_ID = "community-datasets/yahoo_answers_topics", "bookcorpus/bookcorpus"
WIKITEXT_ID = "Salesforce/wikitext"
TOPICS = [
    *("Society & Culture", "Science & Mathematics", "Health", "Education & Reference", "Computers & Internet"),
    *("Sports", "Business & Finance", "Entertainment & Music", "Family & Relationships", "Politics & Government"),
]
STARS = ["1 star", "2 star", "3 stars", "4 stars", "5 stars"]
STRING = Value("string")

Labelled = list[tuple[str, int | None]]


def table(rows: dict[str, list[Any]], **features: Any) -> pa.Table:
    """Rows as the hub's parquet files have them, with the features (class names, for instance) in their metadata."""
    made = Dataset.from_dict(rows, features=Features(features)).data.table
    assert b"huggingface" in made.schema.metadata
    return made


def parquet(content: pa.Table) -> bytes:
    """As a file on the hub."""
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink)
    return bytes(sink.getvalue().to_pybytes())


# What each repository holds. Sentences that come out are written down beside what goes in.


def publish_ptb(hub: HubStandIn, column: str = "sentence", splits: tuple[str, ...] = ("train", "validation")) -> None:
    hub.write(PTB_ID, "ptb_text_only.py", b"raise RuntimeError('a loading script is never run')")
    content = {
        "train": ["no it was n't black monday", "the <unk> rose N N to $ N", "a b.c Mr. d"],
        "validation": ["consumers may want to"],
        "test": ["but it was"],
    }
    tables = {split: table({column: content[split]}, **{column: STRING}) for split in (*splits, "test")}
    hub.add(PTB_ID, tables, "penn_treebank", CONVERTED)


PTB_SENTENCES: dict[str, Labelled] = {
    "train": [("no it was n't black monday", None), ("the <unk> rose N N to $ N", None), ("a b.c Mr. d", None)],
    "valid": [("consumers may want to", None)],
    "test": [("but it was", None)],
}


def publish_yelp(hub: HubStandIn) -> None:
    features: dict[str, Any] = {"text": STRING, "label": ClassLabel(names=["1", "2"])}
    train = {
        "text": [
            r"Great food! Service was SLOW.\n\nWould come again",
            r"The \"best\" pizza? Really!? It isn't 3.5 stars.",
            " ".join(f"Sentence {number}." for number in range(11)),  # more sentences than a short review has
            " ".join(f"Line {number}." for number in range(10)),
            " ".join(["fifteen"] * 14) + ". " + " ".join(["sixteen"] * 15) + ".",
        ],
        "label": [1, 0, 1, 0, 1],
    }
    test = {"text": ["Bad. Awful!"], "label": [0]}
    hub.add(POLARITY_ID, {"train": table(train, **features), "test": table(test, **features)}, "plain_text")


YELP_SENTENCES: dict[str, Labelled] = {
    "train": [
        *[("great food !", 1), ("service was slow .", 1), ("would come again", 1)],
        *[('the " best " pizza ?', 0), ("really ! ?", 0), ("it isn't 3.5 stars .", 0)],
        *[(f"line {number} .", 0) for number in range(10)],
        ("fifteen " * 14 + ".", 1),
    ],
    "test": [("bad .", 0), ("awful !", 0)],
}


def publish_yelp_reviews(hub: HubStandIn) -> None:
    features = {"label": ClassLabel(names=STARS), "text": STRING}
    train = {"label": [k % 5 for k in range(10)], "text": [rf"Visit w{k}: it's GOOD!\nGo, \"now\"." for k in range(10)]}
    test = {"label": [4, 0], "text": ["Loved it...", "x " * 200 + "is too long"]}
    tables = {"train": table(train, **features), "test": table(test, **features)}
    hub.add(FULL_ID, tables, "yelp_review_full")


YELP_REVIEWS: dict[str, Labelled] = {
    "train": [(f'visit w{k} : it\'s good ! go , " now " .', k % 5) for k in range(10)],
    "test": [("loved it ...", 4)],
}


def publish_yahoo(hub: HubStandIn) -> None:
    features = {"id": Value("int32"), "topic": ClassLabel(names=TOPICS)}
    features |= dict.fromkeys(("question_title", "question_content", "best_answer"), STRING)

    def rows(first: int, last: int) -> pa.Table:
        numbers = list(range(first, last))
        columns: dict[str, list[Any]] = {"id": numbers, "topic": [k % 10 for k in numbers]}
        columns["question_title"] = [f"Why {k}?" for k in numbers]
        columns["question_content"] = ["" if k % 2 else r"I'd\nlike to know." for k in numbers]
        columns["best_answer"] = [f"Because of x{k}, SURELY!" for k in numbers]
        return table(columns, **features)

    # The training split is in two files, as on the hub.
    hub.add(YAHOO_ID, {"test": rows(20, 22)}, "yahoo_answers_topics")
    for number, (first, last) in enumerate([(0, 12), (12, 20)]):
        file = f"yahoo_answers_topics/train-0000{number}-of-00002.parquet"
        hub.write(YAHOO_ID, file, parquet(rows(first, last)))


def yahoo_document(k: int) -> tuple[str, int]:
    content = "" if k % 2 else " i'd like to know ."
    return f"why {k} ?{content} because of x{k} , surely !", k % 10


YAHOO_DOCUMENTS: dict[str, Labelled] = {
    "train": [yahoo_document(k) for k in range(20)],
    "test": [yahoo_document(k) for k in range(20, 22)],
}


def publish_books(hub: HubStandIn) -> None:
    hub.write(BOOKS_ID, "bookcorpus.py", b"raise RuntimeError('a loading script is never run')")
    texts = [f"the usual hype , number {k} . ``" for k in range(30)] + ["long " * 61]
    hub.add(BOOKS_ID, {"train": table({"text": texts}, text=STRING)}, "plain_text", CONVERTED)


BOOK_SENTENCES: dict[str, Labelled] = {"train": [(f"the usual hype , number {k} . ``", None) for k in range(30)]}


WIKITEXT_ROWS = {"train": 9, "validation": 0, "test": 1}  # beside those of each split


def publish_wikitext(hub: HubStandIn) -> None:
    for name in ("wikitext-103-raw-v1", "wikitext-103-v1", "wikitext-2-raw-v1", "wikitext-2-v1"):
        tables = {}
        for split in ("test", "train", "validation"):
            texts = [
                *["", " = Robert Boulter = \n", "", f" Robert <unk> of {name} in {split} . \n"],
                *[" = = Career = = \n", " = = = 2000 -- 2005 = = = \n", " \n", " = 5 is no heading . \n"],
                *[" Nor is x = y = z \n", " " + "long " * 201 + "\n", ""],
                *[f" Paragraph {k} . \n" for k in range(WIKITEXT_ROWS[split])],
            ]
            tables[split] = table({"text": texts}, text=STRING)
        hub.add(WIKITEXT_ID, tables, name)


def wikitext_paragraphs(name: str, **splits: str) -> dict[str, Labelled]:
    """Of our splits, given the hub's."""
    others: Labelled = [("= 5 is no heading .", None), ("Nor is x = y = z", None)]
    paragraphs = {theirs: [(f"Paragraph {k} .", None) for k in range(rows)] for theirs, rows in WIKITEXT_ROWS.items()}
    return {
        split: [(f"Robert <unk> of {name} in {theirs} .", None), *others, *paragraphs[theirs]]
        for split, theirs in splits.items()
    }


@dataclass(frozen=True)
class Case:
    """A corpus on the hub: what to publish, how to ask for it, and all that has to come out, by the hub's splits.

    `cut` is the number of sentences of each split that the hub lacks, which are cut from the training split.
    """

    repository: str
    publish: Callable[[HubStandIn], None]
    sentences: dict[str, Labelled]
    cut: dict[str, int] = field(default_factory=dict)


CASES: dict[type[TextDataModule], Case] = {
    PTB: Case(PTB_ID, publish_ptb, PTB_SENTENCES),
    Yelp: Case(POLARITY_ID, publish_yelp, YELP_SENTENCES, {"valid": 4}),
    YelpReviews: Case(FULL_ID, publish_yelp_reviews, YELP_REVIEWS, {"valid": 3}),
    Yahoo: Case(YAHOO_ID, publish_yahoo, YAHOO_DOCUMENTS, {"valid": 6}),
    Books: Case(BOOKS_ID, publish_books, BOOK_SENTENCES, {"valid": 5, "test": 4}),
    WikiText2: Case(
        WIKITEXT_ID,
        publish_wikitext,
        wikitext_paragraphs("wikitext-2-v1", train="train", valid="validation", test="test"),
    ),
    WikiText103: Case(
        WIKITEXT_ID, publish_wikitext, wikitext_paragraphs("wikitext-103-v1", train="train", test="test"), {"valid": 4}
    ),
}
PARTS = (PTB, Yahoo, YelpReviews, WikiText103)
EVERY_CORPUS = [*CASES, Everything]
WITH_CUTS = [kind for kind, case in CASES.items() if case.cut]


def make(kind: type[TextDataModule], seed: int = 0, **subset: int) -> TextDataModule:
    """The corpus with its own defaults, but for cuts that fit the few rows there are."""
    module = kind(seed=seed)
    for part in module.corpora if isinstance(module, Everything) else [module]:
        part.subset = replace(part.subset, **CASES[type(part)].cut, **subset)
    return module


def read(module: TextDataModule) -> dict[str, Labelled]:
    """The encoded splits as text with labels."""
    words, content = vocabulary_words(module.vocabulary), {}
    for split in SPLITS:
        encoded = module.split(split).encoded
        texts = [" ".join(words[token] for token in ids) for ids in encoded["ids"][:]]
        labels = encoded["label"] if "label" in encoded.column_names else [None] * len(texts)
        content[split] = list(zip(texts, labels, strict=True))
    return content


def read_raw(module: TextDataModule) -> dict[str, list[str]]:
    """The splits before encoding, in which no word is unknown."""
    return {split: list(module.read_split(split)["text"]) for split in SPLITS}


def publish(hub: HubStandIn, kind: type[TextDataModule]) -> None:
    """Puts on the hub what the corpus, or each part of it, is read from."""
    for part in PARTS if kind is Everything else [kind]:
        CASES[part].publish(hub)
