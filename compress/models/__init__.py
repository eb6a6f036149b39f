"""How a model comes in, and its structure as data."""
