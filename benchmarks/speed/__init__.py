"""Owns the claims of speed and memory."""
