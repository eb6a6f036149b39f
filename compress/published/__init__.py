"""Results that are published: RESULTS.md, a JSON file of each row beside it, and whether they still hold.

rows      a finished run as a row that can be published, and all rows below a page
page      the rows as RESULTS.md                   checks   what can be told without running a recipe
again     a recipe run anew beside its row
"""
