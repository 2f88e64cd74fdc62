"""Evaluates a network: `python eval.py --weights=mtu2 --dataset=gopro --path=DIR`."""

from mtujax.__main__ import main

if __name__ == "__main__":
    main(script="eval")
