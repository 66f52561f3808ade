"""Owns the claims of what is learned and generated."""
