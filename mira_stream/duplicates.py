"""Near-duplicate clusters of documents. Pure."""
