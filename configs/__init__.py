"""Configurations for `train.py`; `python train.py --help` lists them."""
