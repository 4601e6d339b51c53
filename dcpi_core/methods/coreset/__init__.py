"""Coreset rules, one file each, and ``select``, which runs one on signals that are there."""

from dcpi_core.methods.coreset.selecting import Choice, select

__all__ = ["Choice", "select"]
