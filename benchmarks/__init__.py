"""Owns what SunFish claims of itself: one script a claim, each against a peer in the same run."""
