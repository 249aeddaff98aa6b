"""One module for each data set: ``load(data_dir, seed, **options) -> Dataset``.

``data_dir`` is a folder that exists, or None. A module that reads files says where in ``FILES``.
"""
