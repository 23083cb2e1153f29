"""PyTorch in Thinc models."""
