"""The released MIRA scorers as data, and project directories made for them."""
