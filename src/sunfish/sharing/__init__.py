"""Sharing models through a hub: what a repository holds, its model card, upload and download."""
