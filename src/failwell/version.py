"""The version, for whoever must name it without importing anything else."""

__version__ = "0.1.0"
