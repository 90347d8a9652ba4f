"""The worker process: load the model, measure it, or die; then consume jobs until SIGTERM."""

import logging
import os
import sys
from typing import NoReturn

from shared.artifacts import model_folder
from shared.configuration import shown_configuration
from shared.errors import PremiseServerError
from shared.log_setup import set_up_logging
from shared.settings import load_settings
from worker.consumer import consume
from worker.job_fields import JobFields

log = logging.getLogger("worker")


def main() -> NoReturn:
    """Run a worker; exits with 2 and a sentence where it cannot be configured, with Celery's code otherwise."""
    # Read when torch is loaded.  Threads that spin while they wait for one another lose most of their speed where other
    # processes want the cores too, as the API does; sleeping ones lose next to nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from worker.encoder import Encoder

    try:
        settings = load_settings()
        set_up_logging(settings, JobFields())
        log.info(
            "the worker starts with %(configuration)s", {"configuration": shown_configuration(settings, os.environ)}
        )
        encoder = Encoder.load(
            model_folder(settings),
            dtype=settings.dtype,
            device=settings.device,
            cache_dtype=settings.cache_dtype,
            threads=settings.worker_threads,
            kernel=settings.worker_kernel,
            pooling=settings.pooling,
        )
    except PremiseServerError as error:
        print(f"The worker cannot start: {error}", file=sys.stderr)  # noqa: T201 - before or without a log
        sys.exit(2)
    log.info(
        "model ready on %s, kernel %s, %d threads, %.0f tokens/s, namespace %s",
        encoder.device, encoder.kernel, encoder.threads, encoder.tokens_per_second, encoder.namespace,
    )  # fmt: skip
    sys.exit(consume(settings, encoder))


if __name__ == "__main__":
    main()
