"""Feast definitions. Names, types and numbers come from `ibook.features`; nothing is declared twice."""
