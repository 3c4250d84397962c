"""Training of one model by several processes (ranks): summed gradients and sharded tables."""
