"""fewshot: an experiment runner for optimisation-based few-shot meta-learning."""

__version__ = "0.1.0"
