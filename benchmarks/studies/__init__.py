"""Whether it works, and what follows."""
