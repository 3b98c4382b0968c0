"""The models in a browser: a JavaScript module, a page made of it, and what writes them out."""
