"""Which names may stand first in a path, before the server's own."""

import pytest

from api.main import create_app
from api.route_table import RouteTable
from shared.corpus_prefix import LONGEST_PREFIX, OWN_SEGMENTS, check_prefix
from shared.errors import InvalidRequestError
from shared.settings import Settings


@pytest.mark.parametrize("prefix", ["v4.33.0", "my-project_2", "A", "4", "x" * LONGEST_PREFIX])
def test_names_of_revisions_and_projects_are_prefixes(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "prefix", ["", ".", "..", ".hidden", "-v", "a/b", "a b", "a%2Fb", "ä", "a\n", "a\\b", "x" * (LONGEST_PREFIX + 1)]
)
def test_what_cannot_stand_in_a_path_as_it_is_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be a prefix: take 1 to 64 letters"):
        check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["v1", "health", "Static", "corpora", "default", "docs"])
def test_what_the_server_needs_itself_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidRequestError, match="kept for the server's own paths"):
        check_prefix(prefix)


def test_the_first_segment_of_every_route_is_kept() -> None:
    paths = RouteTable(create_app(Settings())).paths
    assert {path.split("/")[1] for path in paths} - {""} <= OWN_SEGMENTS
