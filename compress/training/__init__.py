"""Training: what a pass adds to one (`phase.py`), and this project's own loop (`loop.py`).

`compress.prepare` brings the same phases into anybody's loop.
"""
