"""The embeddings API as its official client, langchain and text-embeddings-inference's clients use it."""

import asyncio
import base64
import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from shared.artifacts import DEMO, model_folder
from shared.embedding_cache import Vector
from shared.settings import Settings
from tests.integration.conftest import Server

TEXTS = [
    "theorem Nat.add_comm (a b : Nat) : Eq (HAdd.hAdd a b) (HAdd.hAdd b a)",
    "s t : Set α\n⊢ Eq (Inter.inter s t) (Inter.inter t s)",
    "/-- weißt «du» -/ def 𝔽.«weird name» : Type",
]
LONG = "theorem of many words " * 400
FOREIGN_IDS = [1722, 304, 100257]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(model_folder(Settings(model_id=DEMO)) / "tokenizer.json"))


@pytest.fixture(scope="module")
def reference() -> Vector:
    model = SentenceTransformer(str(model_folder(Settings(model_id=DEMO))), device="cpu", local_files_only=True)
    vectors: Vector = model.encode(TEXTS, show_progress_bar=False)
    return vectors


def vectors_of(answer: openai.types.CreateEmbeddingResponse) -> Vector:
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return np.array([item.embedding for item in answer.data], np.float32)


def token_counts(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(tokenizer.encode(text).ids) for text in texts]


def langchain_client(server: Server, connections: httpx.Client | httpx.AsyncClient) -> OpenAIEmbeddings:
    """As it is set up for a server like this; its connections are ours, so that they are closed."""
    mine = "http_async_client" if isinstance(connections, httpx.AsyncClient) else "http_client"
    return OpenAIEmbeddings.model_validate(
        {
            "model": "demo",
            "base_url": f"{server.url}/v1",
            "api_key": "none",
            "check_embedding_ctx_length": False,
            mine: connections,
        }
    )


def refusal(client: openai.OpenAI, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - a client's own arguments
    """What a request that cannot be used hears: 400, in OpenAI's form."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**{"model": "demo", "input": "x"} | asked)
    assert caught.value.status_code == 400
    body = caught.value.response.json()["error"]
    assert body.keys() == {"message", "type", "param", "code"}
    assert body["type"] == "invalid_request_error"
    return dict(body)


def test_the_official_client_gets_the_vectors_of_sentence_transformers(
    client: openai.OpenAI, reference: Vector, tokenizer: Tokenizer
) -> None:
    answer = client.embeddings.create(model="demo", input=TEXTS)
    np.testing.assert_allclose(vectors_of(answer), reference, atol=1e-5)
    tokens = sum(token_counts(tokenizer, TEXTS))
    assert (answer.object, answer.model) == ("list", "demo")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_floats_and_base64_are_the_same_numbers(client: openai.OpenAI, server: Server) -> None:
    default = vectors_of(client.embeddings.create(model="demo", input=TEXTS))
    floats = vectors_of(client.embeddings.create(model="demo", input=TEXTS, encoding_format="float"))
    np.testing.assert_array_equal(default, floats)
    asked = {"model": "demo", "input": TEXTS, "encoding_format": "base64"}
    raw = server.client().post("/v1/embeddings", json=asked).json()["data"][1]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(raw), "<f4"), floats[1])


def test_without_a_format_raw_requests_get_floats(server: Server) -> None:
    data = server.client().post("/v1/embeddings", json={"model": "demo", "input": "x"}).json()["data"]
    assert len(data[0]["embedding"]) == 384


def test_the_async_client_is_served_side_by_side(server: Server, reference: Vector) -> None:
    async def ask() -> list[openai.types.CreateEmbeddingResponse]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return await asyncio.gather(*(client.embeddings.create(model="demo", input=text) for text in TEXTS * 4))

    answers = asyncio.run(ask())
    vectors = np.concatenate([vectors_of(answer) for answer in answers])
    np.testing.assert_allclose(vectors, np.tile(reference, (4, 1)), atol=1e-5)


def test_token_ids_of_the_models_own_give_the_texts_vectors(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    tokenizer.no_truncation()
    token_ids = [tokenizer.encode(text).ids for text in TEXTS]
    texts = vectors_of(client.embeddings.create(model="demo", input=TEXTS))
    many = client.embeddings.create(model="demo", input=token_ids)
    np.testing.assert_allclose(vectors_of(many), texts, atol=1e-6)
    assert many.usage.prompt_tokens == sum(map(len, token_ids))
    one = client.embeddings.create(model="demo", input=token_ids[1])
    np.testing.assert_allclose(vectors_of(one), texts[1:2], atol=1e-6)


def test_token_ids_of_another_tokenizer_are_refused_with_the_hint(client: openai.OpenAI, server: Server) -> None:
    letters = server.redis.hlen("premises:dead-letters")
    for given, place in ((FOREIGN_IDS, 0), ([[101, 102], FOREIGN_IDS], 1)):
        error = refusal(client, input=given)
        assert f"input[{place}]" in error["message"]
        assert "100257" in error["message"]
        assert "check_embedding_ctx_length=False" in error["message"]
        assert error["param"] == "input"
    assert server.redis.hlen("premises:dead-letters") == letters


def test_2048_inputs_are_answered_in_their_order(client: openai.OpenAI, server: Server) -> None:
    texts = [f"theorem number_{number % 1500} : {number % 1500} = {number % 1500}" for number in range(2048)]
    answer = client.embeddings.create(model="demo", input=texts)
    vectors = vectors_of(answer)
    np.testing.assert_array_equal(vectors[1500:], vectors[:548])
    alone = vectors_of(client.embeddings.create(model="demo", input=[texts[1499], texts[7]]))
    np.testing.assert_allclose(alone, vectors[[1499, 7]], atol=1e-6)
    assert "at most 2048 inputs" in refusal(client, input=[*texts, "one more"])["message"]


def test_too_long_a_text_is_refused_unless_it_may_be_truncated(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    [tokens] = token_counts(tokenizer, [LONG])
    for _ in range(2):  # the second time its vector is cached
        error = refusal(client, input=["short", LONG])
        assert error["message"].startswith(f"input[1] has {tokens} tokens")
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
        answer = client.embeddings.create(model="demo", input=["short", LONG], extra_body={"truncate": True})
        assert answer.usage.prompt_tokens == token_counts(tokenizer, ["short"])[0] + 256
    cut = tokenizer.encode(LONG).ids[:256]
    assert "has 300 tokens" in refusal(client, input=[101] * 300)["message"]
    assert client.embeddings.create(model="demo", input=cut).usage.prompt_tokens == 256


def test_a_goal_that_was_truncated_for_lean_is_still_refused_here(client: openai.OpenAI, server: Server) -> None:
    goal = "⊢ " + "goal of Lean " * 300
    assert server.client().post("/retrieve", json={"state": goal, "k": 1}).status_code == 200
    assert refusal(client, input=goal)["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"input": []}, "input", "at least one"),
        ({"input": ""}, "input", "empty"),
        ({"input": ["x", ""]}, "input", "position 1"),
        ({"input": [[]]}, "input", "empty"),
        ({"input": ["x", 1]}, "input", "a list of strings"),
        ({"input": [[1, "x"]]}, "input", "token ids"),
        ({"input": [[True]]}, "input", "token ids"),
        ({"input": [-1]}, "input", "from 0 up"),
        ({"input": [2**31]}, "input", "from 0 up"),
        ({"input": {"text": "x"}}, "input", "a list of strings"),
        ({"encoding_format": "int8"}, "encoding_format", "base64"),
        ({"dimensions": 128}, "dimensions", "leave it out"),
        ({"dimensions": "few"}, "dimensions", "integer"),
        ({"model": None}, "model", "string"),
    ],
)
def test_what_cannot_be_used_hears_400_with_its_field(
    client: openai.OpenAI, asked: dict[str, object], param: str, said: str
) -> None:
    error = refusal(client, **asked)
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize(
    ("body", "param"), [(b"{", None), (b"[]", None), (b'{"input": "x"}', "model"), (b'{"model": "demo"}', "input")]
)
def test_malformed_bodies_hear_400_in_openais_form(server: Server, body: bytes, param: str | None) -> None:
    response = server.client().post("/v1/embeddings", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_an_unknown_model_is_404_and_lists_the_known_ones(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="demo") as caught:
        client.embeddings.create(model="text-embedding-3-small", input="x")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("sentence-transformers/none")


def test_models_are_listed_with_their_dimensions(client: openai.OpenAI, server: Server) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("demo", "model", "local")
    assert model.created > 1_700_000_000
    assert server.client().get("/v1/models").json()["data"][0]["embedding_dimensions"] == 384
    assert client.models.retrieve("demo") == model


def test_unknown_paths_and_methods_answer_in_openais_form(server: Server) -> None:
    for response in (server.client().get("/v1/none"), server.client().get("/v1/embeddings")):
        assert response.status_code in (404, 405)
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_langchain_embeds_documents_and_queries(server: Server, reference: Vector) -> None:
    async def ask() -> list[list[float]]:
        async with httpx.AsyncClient() as connections:
            return await langchain_client(server, connections).aembed_documents(TEXTS[:1])

    with httpx.Client() as connections:
        embeddings = langchain_client(server, connections)
        np.testing.assert_allclose(embeddings.embed_documents(TEXTS), reference, atol=1e-5)
        np.testing.assert_allclose(embeddings.embed_query(TEXTS[1]), reference[1], atol=1e-5)
    np.testing.assert_allclose(asyncio.run(ask()), reference[:1], atol=1e-5)


def test_embed_answers_as_text_embeddings_inference_does(server: Server, reference: Vector) -> None:
    client = server.client()
    many = client.post("/embed", json={"inputs": TEXTS, "truncate": True})
    np.testing.assert_allclose(many.json(), reference, atol=1e-5)
    one = client.post("/embed", json={"inputs": TEXTS[0], "normalize": True})
    np.testing.assert_allclose(one.json(), reference[:1], atol=1e-5)
    assert client.post("/embed", json={"inputs": [LONG], "truncate": True}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"inputs": [LONG]}, "truncate"),
        ({"inputs": "x", "normalize": False}, "unit length"),
        ({"inputs": []}, "at least one"),
        ({"inputs": "x", "prompt_name": "query"}, "prompt_name"),
        ({"inputs": "x", "truncation_direction": "Left"}, "truncation_direction"),
        ({}, "inputs"),
    ],
)
def test_embed_refuses_in_text_embeddings_inferences_form(server: Server, asked: dict[str, object], said: str) -> None:
    response = server.client().post("/embed", json=asked)
    assert response.status_code == 422
    assert response.json().keys() == {"error", "error_type"}
    assert response.json()["error_type"] == "Validation"
    assert said in response.json()["error"]


def test_texts_of_lean_and_of_this_api_share_one_cache(server: Server, client: openai.OpenAI) -> None:
    goal = "⊢ a goal for both doors"
    assert server.client(1).post("/retrieve", json={"state": goal, "k": 1}).status_code == 200
    entries = set(server.redis.scan_iter("emb:*"))
    client.embeddings.create(model="demo", input=goal)
    assert set(server.redis.scan_iter("emb:*")) == entries


def test_a_large_body_is_413_in_openais_form(server: Server) -> None:
    blocks = itertools.repeat(b" " * 2**20, 17)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        response = client.post("/v1/embeddings", content=blocks)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
