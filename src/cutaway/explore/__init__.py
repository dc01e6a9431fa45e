"""The explorer: a web page that shows a model's internals, its API, and its export to a single file."""

EXAMPLE_TEXT = "A robot must obey the orders given it"  # shown if no text is given
