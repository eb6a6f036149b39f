"""Images and their labels: where they come from, how they are read, and how they become a model's input.  No torch: an
artefact is scored where torch is not installed."""
