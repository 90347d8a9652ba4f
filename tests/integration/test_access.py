"""Keys and other origins at one API process (without Redis and corpus), as curl, browsers and hostile clients come."""

import base64
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import httpx
import openai
import pytest

from api.commands.readiness import API_AWAY, what_is_awaited
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.free_ports import free_port
from tests.processes import api_command, running_api, start

LISTED = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
IN_FILE = "Key-of.the~file/with:signs@and=more"
WRONG = "ffeeddccbbaa99887766554433221100"
ORIGIN = "https://lean.example"
CHALLENGE = 'Basic realm="Lean premise server", charset="UTF-8"'
OPEN = {"/health", "/health/live", "/health/ready"}


@dataclass(frozen=True)
class Api:
    url: str
    keys: Path
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def ask(self, authorization: bytes | str = b"", path: str = "/max-new-premises", method: str = "GET") -> int:
        return httpx.request(method, self.url + path, headers=with_authorization(authorization)).status_code


def with_authorization(value: bytes | str) -> dict[bytes, bytes]:
    """The header, or none for an empty value."""
    return {b"Authorization": value if isinstance(value, bytes) else value.encode()} if value else {}


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Api]:
    settings = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "DATA_DIR": str(folder), **environment}
    with running_api(folder / "api.log", settings, ready=False) as url:
        yield Api(url, folder / "keys", folder / "api.log")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "keys").write_text(f"# of the tests\n{IN_FILE}\n")
    settings = {"API_KEYS": LISTED, "API_KEYS_FILE": str(folder / "keys"), "CORS_ORIGINS": ORIGIN, "LOG_LEVEL": "DEBUG"}
    with serving(folder, **settings) as api:
        yield api
        assert "Traceback" not in api.log.read_text()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {LISTED}",
        f"bearer   {LISTED}",
        f"BEARER {IN_FILE}",
        basic("user", LISTED),
        basic("user", IN_FILE),
        basic("", LISTED),
        basic("jürgen", LISTED),
        basic(LISTED, ""),
        basic("user", LISTED).replace("Basic", "bAsIc"),
    ],
)
def test_a_request_with_a_key_is_answered(api: Api, authorization: str) -> None:
    assert api.ask(authorization) == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        f"Bearer {WRONG}",
        f"Bearer {LISTED} {LISTED}",
        f"Bearer {LISTED},{IN_FILE}",
        f"Bearer {LISTED[:-1]}",
        f"Token {LISTED}",
        LISTED,
        f"Basic {LISTED}",
        "Basic",
        "Basic ====",
        "Basic dXNlcg",
        basic("user", WRONG),
        basic(LISTED, WRONG),
        basic("user", ""),
        basic("", ""),
        b"Bearer \xff\xfe\xe2\x8a\xa2",
        b"Basic \xff\xfe",
        "Bearer " + "x" * 5_000,
        "Basic " + "A" * 60_000,
        "Digest username=x",
    ],
)
def test_a_request_without_one_is_answered_401_in_json(api: Api, authorization: bytes | str) -> None:
    response = httpx.get(f"{api.url}/max-new-premises", headers=with_authorization(authorization))
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == CHALLENGE
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["detail"]
    assert response.headers["x-request-id"]


def test_two_authorization_headers_are_none(api: Api) -> None:
    twice = [("Authorization", f"Bearer {LISTED}"), ("Authorization", f"Bearer {WRONG}")]
    assert httpx.get(f"{api.url}/max-new-premises", headers=twice).status_code == 401
    assert httpx.get(f"{api.url}/max-new-premises", headers=[twice[0]] * 2).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/metrics", "/status", "/queue", "/openapi.json", "/indexed-modules", "/api/search", "/nowhere"),
        *("//health", "/health/", "/health/other", "/health/../metrics", "/health%2Flive/x", "/metrics?x=/health"),
    ],
)
def test_everything_but_health_wants_a_key(api: Api, path: str) -> None:
    with socket.create_connection(
        ("127.0.0.1", api.port), timeout=PATIENCE_SECONDS
    ) as connection:  # no client mends the path
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 401


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_wants_none_and_minds_no_wrong_one(api: Api, path: str) -> None:
    assert {api.ask(path=path), api.ask(f"Bearer {WRONG}", path)} <= {200, 503}


def test_the_local_server_hears_what_the_api_waits_for(api: Api) -> None:
    awaited = what_is_awaited("127.0.0.1", api.port)
    assert awaited is not None
    assert awaited != API_AWAY
    assert "corpus" in awaited


def test_the_form_of_openai_is_kept(api: Api) -> None:
    refused = httpx.post(f"{api.url}/v1/embeddings", json={}, headers={"Authorization": f"Bearer {WRONG}"})
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert refused.headers["www-authenticate"] == CHALLENGE


def test_the_official_client_of_openai_is_let_in_by_its_api_key(api: Api) -> None:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key=LISTED) as client:
        assert [model.id for model in client.models.list()] == ["demo"]
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key=WRONG) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def curl(*arguments: str, body: bytes = b"") -> tuple[int, dict[str, str], str]:
    """Status, answer and the trace of a request that curl makes as Lean's client has it."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    header = ["--header", "Content-Type: application/json", "--data", "@-"] if body else []
    command = [program, "-sv", "-w", "\n%{http_code}", *header, *arguments]
    done = subprocess.run(command, input=body, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), json.loads(answer), done.stderr.decode()


def test_leans_curl_sends_the_key_in_the_address(api: Api) -> None:
    escaped = "Key-of.the~file%2Fwith%3Asigns%40and%3Dmore"
    for userinfo in (f"user:{LISTED}", f"user:{escaped}", LISTED):
        status, _, _ = curl("-X", "GET", api.url.replace("://", f"://{userinfo}@") + "/max-new-premises")
        assert status == 200
    status, answer, _ = curl("-X", "GET", api.url.replace("://", f"://user:{WRONG}@") + "/max-new-premises")
    assert status == 401
    assert "detail" in answer


@pytest.mark.parametrize("size_bytes", [10, 900_000, 3_000_000])
def test_curl_reads_the_refusal_whether_or_not_it_waits_for_leave_to_send(api: Api, size_bytes: int) -> None:
    url = api.url.replace("://", f"://user:{WRONG}@") + "/retrieve"
    for expect in (["--header", "Expect:"], ["--header", "Expect: 100-continue", "--expect100-timeout", "30"]):
        status, answer, trace = curl("-X", "POST", *expect, url, body=b"x" * size_bytes)
        assert (status, list(answer)) == (401, ["detail"])
        assert "100 Continue" not in trace


def test_a_refused_request_is_answered_before_its_body_has_come(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n{")
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, response.headers["connection"]) == (401, "close")
        assert response.read()


def test_keys_are_exchanged_without_a_restart(api: Api) -> None:
    new = "0123456789abcdef-of-tomorrow"
    assert api.ask(f"Bearer {new}") == 401
    api.keys.with_suffix(".new").write_text(f"{new}\n")
    api.keys.with_suffix(".new").rename(api.keys)
    assert (api.ask(f"Bearer {new}"), api.ask(f"Bearer {IN_FILE}")) == (200, 401)
    api.keys.write_text(f"{IN_FILE}\n")
    assert (api.ask(f"Bearer {new}"), api.ask(f"Bearer {IN_FILE}")) == (401, 200)


def test_the_openapi_document_says_how_a_key_is_sent(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi.json", headers={"Authorization": f"Bearer {LISTED}"}).json()
    assert {scheme["scheme"] for scheme in document["components"]["securitySchemes"].values()} == {"bearer", "basic"}
    assert document["security"] == [{"bearer": []}, {"basic": []}]
    free = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if operation.get("security") == []
    }
    assert free == OPEN
    assert "401" in document["paths"]["/retrieve"]["post"]["responses"]


def preflight(api: Api, origin: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return httpx.options(f"{api.url}/retrieve", headers={"Origin": origin, **asked})


def test_a_page_of_a_listed_origin_may_ask_with_a_key_and_read_the_answer(api: Api) -> None:
    leave = preflight(api, ORIGIN)
    assert leave.status_code == 200
    assert leave.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in leave.headers["access-control-allow-headers"]
    for authorization, status in ((f"Bearer {LISTED}", 200), (f"Bearer {WRONG}", 401)):
        headers = {"Origin": ORIGIN, "Authorization": authorization}
        answer = httpx.get(f"{api.url}/max-new-premises", headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
        readable = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        provenance = {"X-Corpus-Digest", "X-Corpus-Revision", "X-Model-Namespace", "X-Selector"}
        assert readable == {"X-Request-ID", "Server-Timing", "Retry-After", "X-Partial-Results"} | provenance


def test_a_page_of_another_origin_may_not(api: Api) -> None:
    assert "access-control-allow-origin" not in preflight(api, "https://evil.example").headers
    headers = {"Origin": "https://evil.example", "Authorization": f"Bearer {LISTED}"}
    assert "access-control-allow-origin" not in httpx.get(f"{api.url}/max-new-premises", headers=headers).headers


def test_without_the_settings_no_key_is_wanted_and_no_other_origin_is_let_in(tmp_path: Path) -> None:
    with serving(tmp_path) as api:
        assert api.ask() == api.ask("nonsense") == 200
        assert preflight(api, ORIGIN).status_code == 405
        answer = httpx.get(f"{api.url}/max-new-premises", headers={"Origin": ORIGIN})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "securitySchemes" not in httpx.get(f"{api.url}/openapi.json").json().get("components", {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_KEYS", ""),
        ("API_KEYS", f"{LISTED},hunter2"),
        ("API_KEYS_FILE", "/nowhere/keys"),
        ("CORS_ORIGINS", "lean.example"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_the_start_and_is_named(tmp_path: Path, variable: str, value: str) -> None:
    process = start(api_command(), tmp_path / "api.log", {variable: value})
    assert process.popen.wait(PATIENCE_SECONDS) == 2
    said = process.output()
    assert said.startswith("The API cannot start: ")
    assert variable in said
    assert "hunter2" not in said
    assert LISTED not in said
    assert "Traceback" not in said


def test_a_handshake_of_a_websocket_is_a_request_like_any_other(api: Api) -> None:
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    for authorization, status in ((f"Bearer {LISTED}", 200), (f"Bearer {WRONG}", 401)):
        headers = handshake | {"Authorization": authorization}
        assert httpx.get(f"{api.url}/max-new-premises", headers=headers).status_code == status


def test_no_key_is_ever_logged(api: Api) -> None:
    forms = [
        key for shown in (LISTED, IN_FILE, WRONG) for key in (shown, base64.b64encode(shown.encode()).decode()[:-4])
    ]
    for authorization in (f"Bearer {LISTED}", basic("user", IN_FILE), f"Bearer {WRONG}", f"Basic {WRONG}"):
        api.ask(authorization)
        api.ask(authorization, "/nowhere")
    wait_until(lambda: api.log.read_text().count("GET /nowhere 401") >= 2)
    log = api.log.read_text()
    assert "API_KEYS=********** " in log
    assert "GET /max-new-premises 200" in log
    assert [form for form in forms if form in log] == []
