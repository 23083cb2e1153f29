"""Training on several processes at once: each takes its part of every batch, and the gradients are
summed. The processes are started, and connected, by `torchrun` or by Ray."""
