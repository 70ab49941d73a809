"""What a corpus takes: engines, partitions, GPUs and hours, from measured rates or from a model's config.json.

Everything but reading.py and config_file.py is pure. Bytes, seconds and FLOP throughout; GB are 10^9 bytes, as data
sheets and cards count.
"""
