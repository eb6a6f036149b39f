"""Reference pages in Markdown, made of the definitions themselves: passes, recipe keys, tasks, models, targets.

pages     each page as text, and where they lie        fields   a dataclass as a table of its keys
sources   kinds of models

`python -m compress.reference` writes them to .github/reference/.
"""
