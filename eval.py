"""Evaluates a network: `python eval.py --weights=mtu2 --dataset=gopro --path=DIR`."""

from mtujax.cli.script import launch

if __name__ == "__main__":
    launch(__file__, "cli.evaluate")
