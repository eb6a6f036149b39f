"""Measured rows, and the tables that show them.  Nothing here imports torch."""
