"""Looks at whole corpora before they are served: what is in one, what is wrong with it, how two of them differ."""
