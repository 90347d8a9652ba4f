"""Tells in each line of the log for which job, and for which request, a thread is working."""

import logging

from celery import current_task


class JobFields(logging.Filter):
    """Adds `job_id` and, from the headers that the API sends with a job, `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record; outside a job it stays as it is."""
        request = current_task.request if current_task else {}
        for name, key in (("job_id", "id"), ("request_id", "request_id")):
            if value := request.get(key):
                vars(record).setdefault(name, value)
        return True
