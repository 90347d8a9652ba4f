"""Options of commands that stand for environment variables."""

import os
from collections.abc import Mapping

from shared.log_setup import set_up_logging
from shared.settings import Settings, load_settings


def settings_with(options: Mapping[str, str | None]) -> Settings:
    """The settings with these options in the place of their variables; logging is set up by them.

    The variables are set, so that what the command starts has them too.
    """
    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    settings = load_settings()
    set_up_logging(settings)
    return settings
