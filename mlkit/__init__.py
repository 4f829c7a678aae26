"""Modules:

- `mlkit.errors`: The errors that a person can see: what happened, where, what was expected, what to do."""

__version__ = "0.1.0"
