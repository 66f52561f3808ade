"""Where documents come from: the built-in stories, and a user's own files."""
