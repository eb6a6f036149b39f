"""Other people's loops: `compress.prepare` as a callback of transformers' Trainer (`transformers.py`) and of Lightning
(`lightning.py`).  Each module imports its library; nothing else does."""
