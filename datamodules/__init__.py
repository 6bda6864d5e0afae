"""The corpora: LightningDataModules over Hugging Face `datasets`."""

from datamodules.binary_clusters import BinaryClusters
from datamodules.books import Books
from datamodules.everything import Everything
from datamodules.folder import TextFolder
from datamodules.ptb import PTB
from datamodules.synthetic import Reviews
from datamodules.text import TextDataModule
from datamodules.wikitext import WikiText2, WikiText103
from datamodules.yahoo import Yahoo
from datamodules.yelp import Yelp, YelpReviews

__all__ = [
    "PTB",
    "BinaryClusters",
    "Books",
    "Everything",
    "Reviews",
    "TextDataModule",
    "TextFolder",
    "WikiText2",
    "WikiText103",
    "Yahoo",
    "Yelp",
    "YelpReviews",
]
