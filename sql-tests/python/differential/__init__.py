"""Differential tests: the same query over stored rows, over a plain DataFusion table of the same rows, and in DuckDB.

    values.py   kinds of columns, random values, literals in both dialects
    history.py  what happens to a table: writes, deletes, flushes; and the model that says which rows it must hold
    grammar.py  tables of functions, operators and predicates, each with its spelling in DuckDB or none
    queries.py  trees of random queries, made from the grammar, and how they are cut down
    compare.py  when two answers are the same
    runner.py   runs histories and queries, and tells differences with all that is needed to see them again

What is compared with what: a stored table's rows are in memtables, in overlapping segments, in compacted ones, under
tombstones. The other two hold what the model says, and know nothing of any of that. The model itself is compared with the
stored table, bit by bit, before each round of queries.
"""
