"""Evaluates a network: `python eval.py --weights=mtu2 --dataset=gopro --path=DIR`."""

from mtujax.cli.app import main

if __name__ == "__main__":
    main(script="eval")
