"""What quality means: data, and scores of anything that predicts.  numpy only: no torch, so that artefacts are scored
where torch is not installed."""
