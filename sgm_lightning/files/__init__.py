"""Reads and writes files: files are written whole or not at all, and only tensors and plain types are read."""
