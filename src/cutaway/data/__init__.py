"""Text to token ids on disk and back to batches."""
