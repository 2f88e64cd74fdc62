"""Evaluates a network: `python eval.py --weights=mtu2 --dataset=gopro --path=DIR`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    try:
        from mtujax.eval_command import main

        main(sys.argv, configs=Path(__file__).parent / "configs")
    except KeyboardInterrupt:  # before `main` says what becomes of it
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "mtujax").startswith("mtujax"):
            raise
        print(
            f"eval.py: error: {error.name} is not installed; pip install -e '.[train]'",
            file=sys.stderr,
        )
        sys.exit(1)
