"""How bytes reach the disk and come back: whole files or none, and only tensors and plain types."""
