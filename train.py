"""Trains a network: `python train.py --config=configs/mtu2.py`; `--help` says more."""

import sys
from pathlib import Path

if __name__ == "__main__":  # processes that load data import this file, too
    try:
        from mtujax.train_command import main

        main(sys.argv, configs=Path(__file__).parent / "configs")
    except KeyboardInterrupt:  # before `main` says what becomes of it
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "mtujax").startswith("mtujax"):
            raise
        print(
            f"train.py: error: {error.name} is not installed; "
            "pip install -e '.[train]'",
            file=sys.stderr,
        )
        sys.exit(1)
