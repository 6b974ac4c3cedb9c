"""What is left of a pair: a few numbers, and the records and the facts that they give. Without torch."""
