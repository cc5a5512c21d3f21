"""The configuration tree: its schema and how it is read."""
