"""Measurements, run from the clone: `python -m benchmarks.FOLDER.NAME --help`.

`speed` times the network, `training` its updates, `pipelines` what surrounds both, and
`weights` scores bundled weights; `results` keeps what was found.
"""
