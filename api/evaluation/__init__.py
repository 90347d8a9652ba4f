"""Measures how well premises are retrieved: evaluation sets, what each query may use, metrics, saved runs."""
