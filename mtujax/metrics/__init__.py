"""Scores of frames, motion and steadiness, and published protocols."""
