"""Parts of `release.py`: what happens to the documents, and who does them."""
