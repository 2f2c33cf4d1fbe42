"""``python -m brainuad``: the same as ``brainuad``."""

from brainuad.cli import main

main()
