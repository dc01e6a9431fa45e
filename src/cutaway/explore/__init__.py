"""The face in the browser: a server with the page that shows a model from inside, and that page as one file."""
