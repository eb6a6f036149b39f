"""Rows as one page of HTML that needs nothing else: no network, no other file."""

from compress.report.page.entry import Entry, Line, Sample
from compress.report.page.writing import page, write_page

__all__ = ["Entry", "Line", "Sample", "page", "write_page"]
