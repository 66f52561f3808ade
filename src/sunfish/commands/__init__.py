"""The subcommands: one file each, with ``add(parser)`` for its flags and ``run(arguments)`` for its work.

Importing a command imports no torch, so that ``--help`` answers at once; ``run`` imports what it needs.
"""
