"""Files of a run on disk: written whole or not at all, locked while in use, failures said in one line."""
