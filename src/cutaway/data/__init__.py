"""Token shards on disk, and training batches drawn from them."""
