"""``python -m brainuad``: the same as ``brainuad``."""

from brainuad.cli import main

if __name__ == "__main__":
    main()
