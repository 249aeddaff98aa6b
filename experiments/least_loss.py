"""The least training loss of logistic regression on a LIBSVM file, for ``less`` of an experiment.

python -m experiments.least_loss data_dir=FOLDER [file=a9a]

L-BFGS in double precision; the model is linear with a bias, without a penalty.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from fedsparse import data

__all__ = ["least_loss", "main"]


def least_loss(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The least mean logistic loss of a linear model with bias, and the norm of the gradient there.

    Args:
        x: examples ``[n, features]``.
        y: 0 or 1 ``[n]``.
    """
    wide = np.hstack([x.astype(np.float64), np.ones((len(x), 1))])
    sign = 2.0 * y - 1

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (wide @ w)
        return float(np.logaddexp(0, -margin).mean()), wide.T @ (-sign * expit(-margin)) / len(wide)

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(loss, np.zeros(wide.shape[1]), jac=True, method="L-BFGS-B", options=options)
    return float(found.fun), float(np.linalg.norm(found.jac))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    given = dict(word.partition("=")[::2] for word in (sys.argv[1:] if argv is None else argv))
    dataset = data.load("libsvm", given.get("data_dir"), 0, file=given.get("file", "a9a"))
    assert isinstance(dataset, data.Dataset)
    loss, norm = least_loss(dataset.x, dataset.y)
    print(f"{loss:.8f}, where the norm of the gradient is {norm:.0e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
