"""Sample: ./run.sh sample.py checkpoints/last.ckpt --prompt "Write a story about dogs" --num_samples 3"""

from __future__ import annotations

import sys

from sunfish.cli import main

if __name__ == "__main__":
    sys.exit(main(["sample", *sys.argv[1:]]))
