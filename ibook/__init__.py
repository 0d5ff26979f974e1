"""The core: contracts, features and decisions as plain functions of plain values."""
