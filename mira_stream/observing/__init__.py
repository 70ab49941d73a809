"""What an operator sees: services' metrics and facts of the log in, one Snapshot out."""
