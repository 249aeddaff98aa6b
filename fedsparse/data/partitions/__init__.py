"""One module for each way to divide examples: ``divide(dataset, clients, seed, **options)``.

The result names the client of every training example, ``[N]``, -1 for nobody; or it is a
:class:`~fedsparse.data.holdings.Partition`, whose clients may have examples in common.
"""
