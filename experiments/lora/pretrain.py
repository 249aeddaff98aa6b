"""Pre-trains a small base model for adapters, on one processor and in minutes; the same bits each time.

    python -m experiments.lora.pretrain NAME [data_dir=FOLDER] [folder=FOLDER]

``NAME`` is one of ``pretrain.yaml`` beside this file. The model lies in ``folder`` (``runs/pretrained/NAME``) for
``model=lora model.base=FOLDER``, and is not trained again while it is there. Examples that it was not trained on lie
in the folder ``clients`` of it, for ``data=arrays data.folder=FOLDER/clients``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from fedsparse.experiment.form import Base
from fedsparse.experiment.pretraining import pretrained

__all__ = ["BASES"]

BASES: dict[str, Base] = {
    name: Base(**found)
    for name, found in yaml.safe_load(
        (Path(__file__).resolve().parent / "pretrain.yaml").read_text(encoding="utf-8")
    ).items()
}


def main(argv: Sequence[str]) -> int:
    """Trains the base that is named."""
    if not argv or argv[0] not in BASES:
        print(f"{__doc__}\nNAME is one of {', '.join(BASES)}.")
        return 2
    words = dict(word.split("=", 1) for word in argv[1:])
    data_dir = Path(words["data_dir"]) if "data_dir" in words else None
    folder = Path(words.get("folder", f"runs/pretrained/{argv[0]}"))
    pretrained(BASES[argv[0]], data_dir, folder, print)
    print(f"model=lora model.base={folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
