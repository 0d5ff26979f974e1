"""Adapters that two packages share: they import the core and one library; the core never imports them."""
