"""Faust stream processors: listing this folder prints the topology."""
