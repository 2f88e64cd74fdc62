"""Evaluation of networks and of frames that others restored."""
