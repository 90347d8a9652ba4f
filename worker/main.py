"""The worker process: load the model, warm it up, or die; then consume jobs until SIGTERM."""

import logging
import sys
from typing import NoReturn

from shared.artifacts import model_folder
from shared.errors import PremiseServerError
from shared.log_setup import set_up_logging
from shared.settings import Settings, load_settings
from worker.consumer import consume
from worker.encoder import Encoder, EncoderOptions

log = logging.getLogger("worker")


def main() -> NoReturn:
    """Run a worker; exits with 2 and a sentence where it cannot be configured, with Celery's code otherwise."""
    try:
        settings = load_settings()
        set_up_logging(settings)
        encoder = load_encoder(settings)
    except PremiseServerError as error:
        print(f"The worker cannot start: {error}", file=sys.stderr)  # noqa: T201 - before or without a log
        sys.exit(2)
    log.info("model ready on %s, namespace %s", encoder.device, encoder.namespace)
    sys.exit(consume(settings, encoder))


def load_encoder(settings: Settings) -> Encoder:
    """The model of the settings, in memory."""
    options = EncoderOptions(
        dtype=settings.dtype,
        device=settings.device,
        cache_dtype=settings.cache_dtype,
        kernel=settings.worker_kernel,
        threads=settings.worker_threads,
    )
    return Encoder.load(model_folder(settings), options)


if __name__ == "__main__":
    main()
