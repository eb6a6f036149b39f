"""Sweeps: many recipes, and many variants of each, by one command, on one machine or on many.

variants  one recipe → one for each combination of values      outcome  one recipe → its row, or why there is none
local     one after another in this process                    ray      each a task of a Ray cluster
"""
