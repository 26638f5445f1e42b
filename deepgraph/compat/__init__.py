"""Thin adapters for the names of other systems that do not fit elsewhere, one module each."""
