"""The explorer: a web page that shows a model's internals, its API, and its export to a single file."""
