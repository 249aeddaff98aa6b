"""The constants of problems: what step sizes from theory are made of."""

from __future__ import annotations

import pytest
import torch

from fedsparse.data.problem import Constants
from fedsparse.data.quadratic import Quadratics
from tests.reference.toys import q_toy


def test_quadratics_know_their_constants() -> None:
    # Computed with an independent NumPy transcription.
    toy = q_toy()
    found = Quadratics(torch.from_numpy(toy.H), torch.from_numpy(toy.b)).constants
    assert isinstance(found, Constants)
    assert (found.mu, found.L, found.L_max, found.L_rms) == pytest.approx(
        (1.0076246945, 2.1504483248, 4.4944909020, 4.2406571392), rel=1e-9
    )
