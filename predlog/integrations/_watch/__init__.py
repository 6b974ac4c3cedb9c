"""What `predlog.watch` reads: calls of losses, steps, and the autograd graph of the logits."""
