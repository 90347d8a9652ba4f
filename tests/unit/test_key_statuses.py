"""Which series of the request counter are there from the first scrape on."""

import pytest

from api.main import create_app
from api.route_table import RouteTable
from shared.settings import Settings

KEYS = {"api_keys": "a-key-that-is-long-enough-for-anybody"}


@pytest.mark.parametrize("settings", [{}, KEYS], ids=["open", "with keys"])
def test_each_route_is_expected_to_refuse_where_the_document_says_so(settings: dict[str, str]) -> None:
    app = create_app(Settings.model_validate(settings))
    [table] = [entry.kwargs["table"] for entry in app.user_middleware if "table" in entry.kwargs]
    assert isinstance(table, RouteTable)
    documented = {
        path: any("401" in operation["responses"] for operation in operations.values())
        for path, operations in app.openapi()["paths"].items()
    }
    assert any(documented.values()) is bool(settings)
    templates = {route.path: route.path.replace(":path}", "}") for route in table.routes}
    found = {templates[route.path]: 401 in route.statuses for route in table.routes}
    assert {path: found[path] for path in documented} == documented
