"""The group of all sub-commands, which lists them in the order in which they are needed rather than by the alphabet."""

from collections.abc import Mapping, Sequence

import click

from api.commands.child_process import INTERRUPTED

SHORT_HELP_CHARACTERS = 120


class OrderedGroup(click.Group):
    """Its help has a section for each key of `sections`; commands that are in none come last."""

    def __init__(self, *arguments: object, sections: Mapping[str, Sequence[str]], **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type] # whatever click's own group takes
        self.sections = sections

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; Ctrl-C ends it as shells expect: click's own exit code says here that faults were found."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those of the sections first."""
        named = [name for names in self.sections.values() for name in names if name in self.commands]
        return [*named, *(name for name in super().list_commands(ctx) if name not in named)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A definition list for each section."""
        left = self.list_commands(ctx)
        for title, names in self.sections.items():
            shown = [name for name in names if name in left]
            left = [name for name in left if name not in shown]
            self._write(title, shown, formatter)
        self._write("More", left, formatter)

    def _write(self, title: str, names: Sequence[str], formatter: click.HelpFormatter) -> None:
        rows = [(name, self.commands[name].get_short_help_str(SHORT_HELP_CHARACTERS)) for name in names]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
