"""Speed: this framework beside the same computation written the way the published code writes it."""
