"""Measurements as torchmetrics: exact under any batching and any number of ranks."""
