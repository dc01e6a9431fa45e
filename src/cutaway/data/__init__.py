"""Preparing text as shards of token ids, and drawing training batches from them."""
