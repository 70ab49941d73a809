"""What flow.py runs: the sides as programs of their own, and who starts them."""
