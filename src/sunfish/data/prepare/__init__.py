"""Prepares a corpus once: tokenizer, ids, memory-mapped folder."""
