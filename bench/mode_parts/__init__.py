"""Parts of `modes.py`: what is asked, the ways to ask it, and what is made of the answers."""
