"""The experiments, and the command line that runs them."""
