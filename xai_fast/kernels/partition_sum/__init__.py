"""``partition_sum``: sums over set partitions (Faa di Bruno) of an elementwise node, for many targets in one pass."""
