"""Options of several commands that stand for a variable of the environment; `settings_with` takes them."""

import click

model_id_option = click.option(
    "--model-id", envvar="MODEL_ID", show_envvar=True, help="`demo`, a model folder or a hub model."
)
data_dir_option = click.option(
    "--data-dir", envvar="DATA_DIR", show_envvar=True, help="Folder for all that is kept (.state)."
)
