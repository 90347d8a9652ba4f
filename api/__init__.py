"""The HTTP side of the premise server: FastAPI routes, retrieval and search."""
