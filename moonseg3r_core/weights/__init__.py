"""Pretrained weights: what there is and its licence (catalog), where it is (store), how it gets there (install)."""

from moonseg3r_core.weights.store import compute_hash, find, find_file, read_record

__all__ = ["compute_hash", "find", "find_file", "read_record"]
