"""One module for each way to divide examples: ``owners(dataset, clients, seed, **options) -> [N]``.

The result names the client of every training example, -1 for nobody.
"""
