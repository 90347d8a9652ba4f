"""The gateway's configuration under a real nginx, in front of two replicas."""

import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.free_ports import free_port
from tests.gateway import ADDRESSES, Replicas, running_gateway, running_name_service, running_replica, shared_port
from tests.processes import api_command, running, status_of

SETTINGS = {"MAX_BODY_BYTES": "2000000", "RETRIEVE_TIMEOUT_SECONDS": "120"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """The sentence of an error, which is JSON and has nothing else in it."""
        assert self.headers["content-type"] == "application/json"
        error = json.loads(self.body)
        assert error.keys() == {"detail"}
        sentence: str = error["detail"]
        return sentence


@dataclass(frozen=True, slots=True)
class Gateway:
    port: int
    replicas: Replicas
    addresses: list[str]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request with the path exactly as it is written."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def send(self, request: bytes) -> Answer:
        """Send bytes that no HTTP library would."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextmanager
def gateway_over(folder: Path, alive: tuple[str, ...], patience_milliseconds: int = 15_000) -> Iterator[Gateway]:
    """A gateway that knows both addresses, with replicas on some of them."""
    settings = SETTINGS if patience_milliseconds >= 1000 else SETTINGS | {"RETRIEVE_TIMEOUT_SECONDS": "0"}
    replicas = Replicas(shared_port())
    addresses = list(ADDRESSES)
    with ExitStack() as stack:
        for address in alive:
            stack.enter_context(running_replica(replicas, address))
        port = stack.enter_context(
            running_gateway(
                folder,
                replica_port=replicas.port,
                name_service_port=stack.enter_context(running_name_service(addresses)),
                settings=settings,
                patience_milliseconds=patience_milliseconds,
            )
        )
        yield Gateway(port, replicas, addresses)


OPENAI_ERROR = {"error": {"message": "", "type": "invalid_request_error", "param": None, "code": None}}


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_over(tmp_path_factory.mktemp("gateway"), ADDRESSES) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    shared_gateway.replicas.seen.clear()
    return shared_gateway


def test_requests_reach_every_replica(gateway: Gateway) -> None:
    wait_until(
        lambda: gateway.ask("GET", "/").status == 200 and {s.replica for s in gateway.replicas.seen} == {*ADDRESSES}
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v4.30.0/retrieve",
        "/v1/models/org%2Fmodel%20name",
        "/api/search?query=%E2%8A%A2%20a%20%2B%20b&results=5",
        "//double//slash/",
        "/a/./b/../c",
        "/indexed-modules/",
        "/%C2%ABweird%C2%BB;x=1,2",
    ],
)
def test_a_path_arrives_as_it_was_sent_and_is_never_redirected(gateway: Gateway, path: str) -> None:
    assert gateway.ask("GET", path).status == 200
    assert [seen.path for seen in gateway.replicas.seen] == [path]


def test_headers_of_the_client_reach_the_replica(gateway: Gateway) -> None:
    gateway.ask("POST", "/retrieve", b"{}", Authorization="Basic dTpr", X_Forwarded_For="1.2.3.4", Host="lean.example")
    [seen] = gateway.replicas.seen
    assert seen.headers["Authorization"] == "Basic dTpr"
    assert seen.headers["Host"] == "lean.example"
    assert seen.headers["X-Forwarded-For"] == "127.0.0.1"


def test_a_request_id_is_passed_on_and_one_is_made_where_it_is_missing_or_unusable(gateway: Gateway) -> None:
    gateway.ask("GET", "/", X_Request_ID="abc-1.2:3+4/5=")
    gateway.ask("GET", "/", X_Request_ID='un"usable')
    gateway.ask("GET", "/")
    given, *made = [seen.headers["X-Request-ID"] for seen in gateway.replicas.seen]
    assert given == "abc-1.2:3+4/5="
    assert all(len(request_id) == 32 for request_id in made)


@pytest.mark.parametrize("status", [401, 404, 413, 422, 429, 502, 503, 504])
def test_an_error_of_a_replica_passes_unchanged(gateway: Gateway, status: int) -> None:
    answer = gateway.ask("GET", f"/status/{status}")
    assert answer.status == status
    assert "replica" in json.loads(answer.body)


def test_a_post_whose_replica_dies_is_not_sent_again(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/die", b'{"state": "x"}', X_Request_ID="mine")
    assert (answer.status, answer.headers["retry-after"], answer.headers["x-request-id"]) == (502, "5", "mine")
    assert "try again" in answer.detail
    assert len(gateway.replicas.seen) == 1


def test_a_body_over_the_limit_is_refused_before_any_replica_is_asked(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/retrieve", bytes(2_000_001))
    assert answer.status == 413
    assert answer.detail == "The body is larger than 2000000 bytes: send fewer or shorter texts."
    chunked = b"POST /retrieve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1e8481\r\n" + bytes(2_000_001)
    assert gateway.send(chunked).status == 413
    assert gateway.replicas.seen == []


def test_a_body_at_the_limit_arrives_whole(gateway: Gateway) -> None:
    assert gateway.ask("POST", "/retrieve", bytes(2_000_000)).status == 200
    assert [seen.body_bytes for seen in gateway.replicas.seen] == [2_000_000]


def test_curl_is_told_to_continue_with_a_large_body(gateway: Gateway) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    url = f"http://user:key@127.0.0.1:{gateway.port}/v4.30.0/retrieve"
    header = ["--header", "Content-Type: application/json", "--header", "Expect: 100-continue"]
    command = [curl, "-sv", "-X", "POST", *header, "--expect100-timeout", "30", "--data-binary", "@-", url]
    done = subprocess.run(command, input=b"x" * 1_500_000, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    assert b"HTTP/1.1 100 Continue" in done.stderr
    assert [(seen.path, seen.body_bytes) for seen in gateway.replicas.seen] == [("/v4.30.0/retrieve", 1_500_000)]
    assert "Expect" not in gateway.replicas.seen[0].headers


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /../etc HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /.gateway-error HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: brotli\r\n\r\n", 501),
    ],
)
def test_what_the_gateway_refuses_itself_is_a_sentence_in_json(
    gateway: Gateway, request_bytes: bytes, status: int
) -> None:
    answer = gateway.send(request_bytes)
    assert answer.status == status
    assert answer.detail.endswith(".")
    assert gateway.replicas.seen == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", OPENAI_ERROR),
        ("/embed", {"error": "", "error_type": "Validation"}),
        (
            "/v4.33.0/v1/embeddings",
            {"error": {"message": "", "type": "invalid_request_error", "param": None, "code": None}},
        ),
        ("/v4.33.0/embed", {"error": "", "error_type": "Validation"}),
        ("/v4.33.0/retrieve", {"detail": ""}),
    ],
)
def test_what_the_gateway_refuses_itself_has_the_form_of_the_path(
    gateway: Gateway, path: str, body: dict[str, object]
) -> None:
    sentence = "The body is larger than 2000000 bytes: send fewer or shorter texts."
    answer = gateway.ask("POST", path, bytes(2_000_001))
    assert answer.status == 413
    assert answer.body.decode().replace(sentence, "") == json.dumps(body, separators=(",", ":"))
    assert sentence in answer.body.decode()


def test_a_client_that_leaves_is_noticed_by_the_replica(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        wait_until(lambda: gateway.replicas.seen)
    assert gateway.replicas.left.wait(PATIENCE_SECONDS)


def test_a_replica_that_is_down_is_passed_over_for_posts_too(tmp_path: Path) -> None:
    with gateway_over(tmp_path, alive=ADDRESSES[1:]) as gateway:
        answers = [gateway.ask("POST", "/retrieve", bytes(500_000)) for _ in range(12)]
        assert [answer.status for answer in answers] == [200] * 12
        assert {(seen.replica, seen.body_bytes) for seen in gateway.replicas.seen} == {(ADDRESSES[1], 500_000)}


def test_without_a_replica_the_answer_is_502_until_the_name_is_known_again(tmp_path: Path) -> None:
    with gateway_over(tmp_path, alive=ADDRESSES) as gateway:
        gateway.addresses.clear()
        answer = gateway.ask("POST", "/retrieve", b"{}")
        assert (answer.status, answer.headers["retry-after"]) == (502, "5")
        assert "try again" in answer.detail
        gateway.addresses.extend(ADDRESSES)
        wait_until(lambda: gateway.ask("GET", "/").status == 200)


def test_a_replica_that_does_not_answer_ends_in_504(tmp_path: Path) -> None:
    with gateway_over(tmp_path, alive=ADDRESSES, patience_milliseconds=900) as gateway:
        answer = gateway.ask("POST", "/wait", b"{}")
        assert (answer.status, answer.headers["retry-after"]) == (504, "5")
        assert "try again" in answer.detail
        wait_until(lambda: gateway.replicas.seen)
        assert len(gateway.replicas.seen) == 1


def test_the_log_holds_neither_queries_nor_credentials_nor_health_checks(tmp_path: Path) -> None:
    with gateway_over(tmp_path, alive=ADDRESSES) as gateway:
        gateway.ask("GET", "/health/live")
        gateway.ask("GET", "/v4.33.0/health/ready")
        gateway.ask("GET", "/api/search?query=secret-goal", Authorization="Basic c2VjcmV0")
        gateway.ask("POST", "/die?query=secret-goal", b"secret-goal")
        log = tmp_path / "nginx.log"
        wait_until(lambda: log.read_text().count("\n") >= 2)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(entry["path"], entry["status"]) for entry in entries] == [("/api/search", 200), ("/die", 502)]
    assert "secret" not in log.read_text()
    assert "c2VjcmV0" not in log.read_text()


@contextmanager
def running_api_on(address: str, port: int, folder: Path) -> Iterator[Path]:
    """An API process that has no Redis and no corpus; yields its log."""
    environment = {
        "HOST": address,
        "PORT": str(port),
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "DATA_DIR": str(folder),
    }
    log = folder / f"{address}.log"
    with running(api_command(), log, environment) as process:
        wait_until(lambda: process.popen.poll() is not None or status_of(f"http://{address}:{port}/health/live"))
        assert process.popen.poll() is None, process.output()
        yield log


def test_two_api_processes_stand_behind_one_port(tmp_path: Path) -> None:
    port = shared_port()
    with ExitStack() as stack:
        logs = [stack.enter_context(running_api_on(address, port, tmp_path)) for address in ADDRESSES]
        names = stack.enter_context(running_name_service(list(ADDRESSES)))
        gateway = Gateway(
            stack.enter_context(
                running_gateway(tmp_path, replica_port=port, name_service_port=names, settings=SETTINGS)
            ),
            Replicas(port),
            list(ADDRESSES),
        )
        not_ready = gateway.ask("GET", "/health/ready")
        assert (not_ready.status, json.loads(not_ready.body)["status"]) == (503, "not ready")
        wait_until(
            lambda: (
                gateway.ask("GET", "/nowhere").status == 404
                and all("GET /nowhere 404" in log.read_text() for log in logs)
            )
        )
