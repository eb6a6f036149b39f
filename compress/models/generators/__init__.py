"""Models that make images: a small class-conditional flow-matching transformer, and how it is sampled."""
