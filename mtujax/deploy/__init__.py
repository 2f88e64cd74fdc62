"""A network's step as a program of its own, for runtimes other than this package."""
