"""Who may log in to Flower, and what the local server says of it."""

import pytest

from api.commands.flower import check_flower, flower_notice, made_up_login, run_flower
from api.commands.serve import check_flower_port
from api.commands.terminal import welcome
from shared.errors import SettingsError
from shared.settings import Settings


def settings(login: str = "", **others: int) -> Settings:
    return Settings.model_validate({"flower": True, "flower_basic_auth": login, **others})


@pytest.mark.parametrize("login", ["someone:secret", "someone:se:cret", "someone:secret,other:word"])
def test_users_with_passwords_are_taken(login: str) -> None:
    check_flower(settings(login))


@pytest.mark.parametrize("login", ["secret", ":secret", "secret:", "someone:secret,", "someone:sec,ret"])
def test_anything_else_is_refused_without_being_repeated(login: str) -> None:
    with pytest.raises(SettingsError, match="write user:password") as refusal:
        check_flower(settings(login))
    assert "sec" not in str(refusal.value)


def test_without_a_login_no_page_is_served() -> None:
    with pytest.raises(SettingsError, match="FLOWER_BASIC_AUTH=user:password"):
        run_flower(settings(), "127.0.0.1", 5555)


def test_each_made_up_password_is_another_one_and_long() -> None:
    made_up = {made_up_login() for _ in range(20)}
    assert len(made_up) == 20
    for login in made_up:
        check_flower(settings(login))
        assert len(login.partition(":")[2]) >= 24


def test_a_made_up_password_is_told_and_a_chosen_one_is_not() -> None:
    assert flower_notice(settings(flower_port=5556), "premises:made-up") == (
        "Flower, the queue's web page: http://127.0.0.1:5556 (log in with premises and made-up)"
    )
    assert "chosen" not in flower_notice(settings("someone:chosen"), None)
    assert "chosen" not in repr(settings("someone:chosen"))


def test_the_welcome_names_the_page_where_there_is_one() -> None:
    page = "http://127.0.0.1:5555"
    assert f"Flower: {page}" in welcome("http://x", "redis.log", wants_key=False, flower_url=page)
    assert "Flower" not in welcome("http://x", "redis.log", wants_key=False)


def test_flower_cannot_have_the_port_of_the_api() -> None:
    with pytest.raises(SettingsError, match="FLOWER_PORT=8000 is the API's own PORT"):
        check_flower_port(settings(port=8000, flower_port=8000))
