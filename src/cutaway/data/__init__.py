"""Text to token ids in shards, and training batches drawn from them."""
