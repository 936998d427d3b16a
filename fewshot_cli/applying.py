"""The name that `fewshot_cli.inference` had in the first releases; it goes with version 2."""

from fewshot_cli.inference import Model, adapt, load, save

__all__ = ["Model", "adapt", "load", "save"]
