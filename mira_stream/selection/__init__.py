"""Stage 4 of MIRA: which scored documents are kept under a token budget, exactly, and baselines beside it."""
