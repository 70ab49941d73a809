"""featurejudge: a deterministic judge from measurable features of a document.

It stands in for a teacher model where none can be reached. It is no language model, and says so wherever it is named.
"""
