"""Corpora on their way to the hub and back: what is sent, what is said of it, and whether what came is that."""
