"""TFDS builders of the field's datasets; needs the extra `train`, not TensorFlow."""
