"""Serving: many jobs at once on one network."""
