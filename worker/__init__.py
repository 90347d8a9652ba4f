"""The embedding side of the premise server: a Celery worker that owns one model."""
