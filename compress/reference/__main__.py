"""`python -m compress.reference [DIRECTORY]` writes the reference pages anew."""

import sys
from pathlib import Path

from compress.files import write_text
from compress.reference.pages import DIRECTORY, pages

if __name__ == "__main__":
    for name, text in pages().items():
        write_text(Path(sys.argv[1] if len(sys.argv) > 1 else DIRECTORY) / name, text)
