"""Forward passes: one protocol, three engines."""
