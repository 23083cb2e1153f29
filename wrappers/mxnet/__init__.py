"""MXNet in Thinc models."""
