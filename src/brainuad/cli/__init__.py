"""The command line. Thin: it reads options, calls the package and says where things went."""

from brainuad.cli.app import app, main

__all__ = ["app", "main"]
