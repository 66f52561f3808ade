"""Train: ./run.sh train.py --config micro [--resume checkpoints/last.ckpt] [--FIELD VALUE …]

What --config NAME means is read from config/NAME_config.py (full: config/model_config.py), for you to edit.
"""

from __future__ import annotations

import sys

from config import get_config
from sunfish.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], base=get_config))
