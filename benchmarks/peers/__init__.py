"""Owns the networks that SunFish is compared with, trained on its batches."""
