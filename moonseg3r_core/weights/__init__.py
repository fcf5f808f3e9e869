"""Pretrained weights: what there is and under which licence (catalog), where it is kept (store), what comes
with the package (embedded), how the others get there (install)."""

from moonseg3r_core.weights.store import find, find_file, hash_of, record_of

__all__ = ["find", "find_file", "hash_of", "record_of"]
