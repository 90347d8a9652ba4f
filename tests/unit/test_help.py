from collections.abc import Iterator

import click
import pytest

from api.commands.main import SECTIONS, premises


def all_commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{prefix}{name} ")


COMMANDS = list(all_commands(premises))


def help_of(command: click.Command, name: str) -> str:
    return command.get_help(click.Context(command, info_name=name))


def test_the_help_lists_each_command_once_in_a_section_of_its_own() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(premises.commands) <= set(named)
    lines = help_of(premises, "premises").splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[:1][0] in premises.commands]
    assert [name for name in named if name in premises.commands] == [name for name in listed if name in named]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_says_what_it_does_and_gives_an_example(name: str, command: click.Command) -> None:
    text = " ".join(help_of(command, name).split())
    assert "Example" in text
    assert f"premises {name}" in text
    assert len(command.help or "") > 60


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_option_says_what_it_is_for(name: str, command: click.Command) -> None:
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("name", ["fetch", "publish", "corpora add"])
def test_the_hub_data_set_is_named_alike_by_every_command(name: str) -> None:
    assert "--repo" in [spelling for option in dict(COMMANDS)[name].params for spelling in option.opts]


def test_what_a_command_is_for_is_listed_whole() -> None:
    groups = [("premises", premises), *(named for named in COMMANDS if isinstance(named[1], click.Group))]
    lines = [line for name, group in groups for line in help_of(group, name).splitlines()[1:]]
    assert [line for line in lines if line.endswith("...")] == []
