"""Slipway: an AI platform that runs as one process on a laptop and launches on AWS from one typed manifest."""

__version__ = "0.1.0"
