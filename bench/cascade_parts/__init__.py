"""Parts of `cascade.py`: simulated streams, how they are decided, and what a cascade did to them."""
