"""The patient record aggregator: the service."""

__version__ = "0.1.0"
