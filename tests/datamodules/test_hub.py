"""Every corpus with a hub source, end to end: from repositories as the hub has them to encoded sentences."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets.config
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hub import CONVERTED, HubStandIn, point_hub_at, unreachable_endpoint

import datamodules
from datamodules import (
    PTB,
    Books,
    Everything,
    TextDataModule,
    WikiText2,
    WikiText103,
    Yahoo,
    Yelp,
    YelpReviews,
)
from datamodules.errors import UsageError
from datamodules.text import SubsetConfig
from datamodules.vocabulary import vocabulary_words

SPLITS = ("train", "valid", "test")
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


def publish_wikitext(hub: HubStandIn) -> None:
    for name in ("wikitext-103-raw-v1", "wikitext-103-v1", "wikitext-2-raw-v1", "wikitext-2-v1"):
        tables = {}
        for split in ("test", "train", "validation"):
            texts = [
                *["", " = Robert Boulter = \n", "", f" Robert <unk> of {name} in {split} . \n"],
                *[" = = Career = = \n", " = = = 2000 -- 2005 = = = \n", " \n", " = 5 is no heading . \n"],
                *[" Nor is x = y = z \n", " " + "long " * 201 + "\n", ""],
            ]
            tables[split] = table({"text": texts}, text=STRING)
        hub.add(WIKITEXT_ID, tables, name)


def wikitext_paragraphs(name: str) -> dict[str, Labelled]:
    names = {"train": "train", "valid": "validation", "test": "test"}
    others: Labelled = [("= 5 is no heading .", None), ("Nor is x = y = z", None)]
    return {split: [(f"Robert <unk> of {name} in {theirs} .", None), *others] for split, theirs in names.items()}


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
    WikiText2: Case(WIKITEXT_ID, publish_wikitext, wikitext_paragraphs("wikitext-2-v1")),
    WikiText103: Case(WIKITEXT_ID, publish_wikitext, wikitext_paragraphs("wikitext-103-v1")),
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


def message_of(module: TextDataModule) -> str:
    with pytest.raises(UsageError) as caught:
        module.prepare_data()
    return str(caught.value)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A running hub without repositories, and empty caches."""
    with HubStandIn(tmp_path / "hub") as stand_in:
        point_hub_at(monkeypatch, stand_in.endpoint, tmp_path / "cache")
        yield stand_in


def publish(hub: HubStandIn, kind: type[TextDataModule]) -> None:
    for part in PARTS if kind is Everything else [kind]:
        CASES[part].publish(hub)


def test_every_corpus_with_a_hub_source_is_covered() -> None:
    for module in pkgutil.iter_modules(datamodules.__path__):
        importlib.import_module(f"datamodules.{module.name}")
    found: set[type[TextDataModule]] = set()
    waiting = [TextDataModule]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("datamodules.") and kind is not TextDataModule:
            module = kind()
            if module.hub.repository or getattr(module, "corpora", None):
                found.add(kind)
    assert found == set(EVERY_CORPUS)
    assert {type(part) for part in Everything().corpora} == set(PARTS)


@pytest.mark.parametrize("kind", CASES)
def test_splits_of_the_hub_become_sentences_with_labels(kind: type[TextDataModule], hub: HubStandIn) -> None:
    case = CASES[kind]
    case.publish(hub)
    content = read(make(kind))
    known = {word for text, _ in content["train"] for word in text.split()} | {"<unk>"}
    for split, sentences in case.sentences.items():
        if split == "train" and case.cut:
            continue  # see the test of cuts
        expected = [(" ".join(w if w in known else "<unk>" for w in text.split()), label) for text, label in sentences]
        # Yelp's reviews are drawn by seed, so its sentences come in another order.
        assert (sorted(content[split]) if kind is Yelp else content[split]) == (
            sorted(expected) if kind is Yelp else expected
        )
    assert set(content) == set(SPLITS)


@pytest.mark.parametrize("kind", WITH_CUTS)
def test_lacking_splits_are_cut_from_train_disjoint_and_complete(kind: type[TextDataModule], hub: HubStandIn) -> None:
    case = CASES[kind]
    case.publish(hub)
    whole = case.sentences["train"]
    cut_names = ["train", *case.cut]
    drawn = []
    for seed in (0, 1, 0):
        module = make(kind, seed)
        # The longest sentence of all, 61 words, is among the raw ones of Books and left out when they are encoded.
        texts = {split: texts for split, texts in read_raw(module).items() if split in cut_names}
        assert {split: len(texts[split]) for split in case.cut} == case.cut
        together = sorted(" ".join(text.split()) for split in cut_names for text in texts[split])
        assert [text for text in together if len(text.split()) < 61] == sorted(text for text, _ in whole)
        if kind is not Books:
            labels = dict(whole)
            for split in cut_names:
                rows = module.read_split(split)
                assert list(rows["label"]) == [labels[text] for text in rows["text"]]
                assert list(module.split(split).encoded["label"]) == list(rows["label"])
        drawn.append(texts)
    assert drawn[0] == drawn[2]
    for split in cut_names:
        assert set(drawn[0][split]) != set(drawn[1][split])


@pytest.mark.parametrize("kind", WITH_CUTS)
def test_subset_bounds_the_training_split_beside_the_cuts(kind: type[TextDataModule], hub: HubStandIn) -> None:
    case = CASES[kind]
    case.publish(hub)
    texts = read_raw(make(kind, train=2))
    assert len(texts["train"]) == 2
    for split, size in case.cut.items():
        assert len(texts[split]) == size
        assert not set(texts[split]) & set(texts["train"])


def test_everything_is_the_union_of_its_parts(hub: HubStandIn) -> None:
    publish(hub, Everything)
    module = make(Everything)
    content = read_raw(module)
    parts = [read_raw(make(kind)) for kind in PARTS]
    for split in SPLITS:
        assert content[split] == [text for part in parts for text in part[split]]
        assert "label" not in module.split(split).encoded.column_names
    # PTB 3, Yahoo 20 - 6, Yelp15 10 - 3, WikiText-103 3 and 1 that is too long
    assert len(content["train"]) == 3 + 14 + 7 + 4
    assert len(module.split("train")) == 3 + 14 + 7 + 3


@pytest.mark.parametrize("reviews", [1, 3])
def test_yelp_takes_sentences_of_so_many_reviews(hub: HubStandIn, reviews: int) -> None:
    features = {"text": STRING, "label": ClassLabel(names=["1", "2"])}
    rows = {"text": [f"Review {k} begins. Review {k} ends." for k in range(20)], "label": [k % 2 for k in range(20)]}
    hub.add(POLARITY_ID, dict.fromkeys(("train", "test"), table(rows, **features)), "plain_text")
    subset = SubsetConfig(valid=1)
    content = read_raw(Yelp(reviews=reviews, subset=subset))
    for texts in (content["test"], content["train"] + content["valid"]):
        numbers = [text.split()[1] for text in texts]
        assert len(texts) == 2 * reviews
        assert len(set(numbers)) == reviews
    assert {text.split()[1] for text in content["test"]} != {
        text.split()[1] for text in read_raw(Yelp(reviews=reviews, subset=subset, seed=1))["test"]
    }


def test_yelp_reviews_out_of_range_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="reviews is 0"):
        Yelp(reviews=0)


def test_label_names_are_those_of_the_hub() -> None:
    """In the hub's order: a swapped pair would turn a sentiment or topic study around."""
    assert [name.lower().split()[0] for name in TOPICS] == list(Yahoo.label_names)
    assert [name[0] for name in STARS] == [name[0] for name in YelpReviews.label_names]
    assert Yelp.label_names == ("negative", "positive")  # the hub calls its classes 1 and 2, in this order


def test_only_files_of_the_configuration_are_downloaded(hub: HubStandIn) -> None:
    publish_wikitext(hub)
    make(WikiText2).prepare_data()
    files = {request.split("/", 2)[-1] for request in hub.requests if request.endswith(".parquet")}
    assert len(files) == 3
    assert all("/wikitext-2-v1/" in file for file in files)


@pytest.mark.parametrize("kind", EVERY_CORPUS)
@pytest.mark.parametrize("offline", [False, True])
def test_downloaded_once_it_loads_without_the_hub(
    kind: type[TextDataModule], offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubStandIn(tmp_path / "hub") as stand_in:
        point_hub_at(monkeypatch, stand_in.endpoint, tmp_path / "cache")
        publish(stand_in, kind)
        before = read(make(kind))
        assert stand_in.requests
    point_hub_at(monkeypatch, unreachable_endpoint(), tmp_path / "cache")
    if offline:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    # Even where what was derived from the download is gone.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "other" / "datasets")
    assert read(make(kind)) == before


def assert_names_the_ways_out(message: str, repository: str, corpus: str) -> None:
    for part in (repository, f"DATA_DIR=FOLDER, where FOLDER/{corpus}/ holds", "EXP=daae_reviews"):
        assert part in message


@pytest.mark.parametrize("kind", EVERY_CORPUS)
def test_unreachable_hub_names_the_ways_out(
    kind: type[TextDataModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_hub_at(monkeypatch, unreachable_endpoint(), tmp_path / "cache")
    first = PTB if kind is Everything else kind  # the part that is missed first
    assert_names_the_ways_out(message_of(make(kind)), CASES[first].repository, first.corpus)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("how", ["unknown", "gated", "offline"])
def test_refused_repository_names_the_ways_out(
    kind: type[TextDataModule], how: str, hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "gated":
        publish(hub, kind)
        hub.gated.add(CASES[kind].repository)
    elif how == "offline":
        publish(hub, kind)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_names_the_ways_out(message_of(make(kind)), CASES[kind].repository, kind.corpus)
    assert (hub.requests == []) == (how == "offline")


def test_missing_revision_names_the_ways_out(hub: HubStandIn) -> None:
    hub.add(PTB_ID, {"train": table({"sentence": ["a"]}, sentence=STRING)}, "penn_treebank")  # on main alone
    assert_names_the_ways_out(message_of(PTB()), PTB_ID, "ptb")


def test_missing_split_names_the_ways_out(hub: HubStandIn) -> None:
    publish_ptb(hub, splits=("train",))
    message = message_of(PTB())
    assert_names_the_ways_out(message, PTB_ID, "ptb")
    assert "validation" in message


def test_damaged_file_names_the_ways_out(hub: HubStandIn) -> None:
    publish_ptb(hub)
    hub.write(PTB_ID, "penn_treebank/train/0000.parquet", b"PAR1 but no more", CONVERTED)
    assert_names_the_ways_out(message_of(PTB()), PTB_ID, "ptb")


def test_missing_configuration_names_the_ways_out(hub: HubStandIn) -> None:
    hub.add(WIKITEXT_ID, dict.fromkeys(("train", "validation", "test"), table({"text": ["a"]}, text=STRING)), "other")
    message = message_of(WikiText2())
    assert_names_the_ways_out(message, WIKITEXT_ID, "wikitext2")
    assert "wikitext-2-v1" in message


def test_missing_column_is_named_with_those_that_there_are(hub: HubStandIn) -> None:
    publish_ptb(hub, column="line")
    message = message_of(PTB())
    for part in (PTB_ID, "no column sentence", "it has line", "hub.text"):
        assert part in message


def test_missing_label_column_is_named(hub: HubStandIn) -> None:
    rows = table({"text": ["a", "b"]}, text=STRING)
    hub.add(FULL_ID, {"train": rows, "test": rows}, "yelp_review_full")
    message = message_of(make(YelpReviews))
    for part in (FULL_ID, "no column label", "it has text", "hub.label"):
        assert part in message


def test_cuts_that_leave_nothing_to_train_on_are_a_usage_error(hub: HubStandIn) -> None:
    publish_books(hub)  # 31 rows
    message = message_of(Books(subset=SubsetConfig(valid=20, test=11)))
    assert BOOKS_ID in message
    assert "31 rows" in message
    texts = read_raw(Books(subset=SubsetConfig(valid=20, test=10)))
    assert {split: len(lines) for split, lines in texts.items()} == {"train": 1, "valid": 20, "test": 10}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_cut_without_a_size_is_a_usage_error(hub: HubStandIn, split: str) -> None:
    publish_books(hub)
    sizes: dict[str, Any] = {"valid": 2, "test": 2, split: None}
    message = message_of(Books(subset=SubsetConfig(**sizes)))
    assert BOOKS_ID in message
    assert f"subset.{split}" in message
