"""The exactly-once flow: read a partition, work on its records, write results and position in one transaction."""
