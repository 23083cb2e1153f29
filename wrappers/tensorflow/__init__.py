"""TensorFlow in Thinc models."""
