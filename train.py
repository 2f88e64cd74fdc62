"""Trains a network: `python train.py --config=configs/mtu2.py`; `--help` says more."""

from mtujax.__main__ import main

if __name__ == "__main__":  # processes that load data import this file, too
    main(script="train")
