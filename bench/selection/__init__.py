"""Parts of bench/selection_quality.py: documents whose truth is known, scorers, selections, a language model."""
