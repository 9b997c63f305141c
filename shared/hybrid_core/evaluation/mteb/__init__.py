"""Encoders, rerankers and whole systems as models of the `mteb` package, for the field's own benchmarks.

mteb keeps results under a model's name, revision and settings. Ours hold what decides a result, so that none is taken
for that of another setting. Needs the extra `mteb`.
"""
