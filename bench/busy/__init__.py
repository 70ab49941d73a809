"""Parts of `stream_vs_engine.py`: what is asked, and the sides that ask it."""
