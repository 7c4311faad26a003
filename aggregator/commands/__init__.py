"""The commands of `aggregator`, one module each; `aggregator/__main__.py` puts them together."""
