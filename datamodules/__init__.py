"""The corpora: LightningDataModules over Hugging Face `datasets`."""
