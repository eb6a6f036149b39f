"""Open an artefact, run it, and measure it in a process of its own.  Nothing here imports torch."""
