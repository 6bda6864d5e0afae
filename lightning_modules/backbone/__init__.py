"""The encoder-decoder that every family shares."""
