"""Trains a network: `python train.py --config=configs/mtu2.py`; `--help` says more."""

from mtujax.cli.script import launch

if __name__ == "__main__":  # processes that load data import this file, too
    launch(__file__, "cli.train")
