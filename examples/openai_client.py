"""Embeddings with the official `openai` client: plain, many at once, from token ids, and when the server is busy.

    pip install openai numpy tokenizers
    python examples/openai_client.py --url http://127.0.0.1:8000 --tokenizer <model folder>/tokenizer.json

PREMISES_API_KEY holds the key of a server that wants one.
"""

import argparse
import asyncio
import os
import sys

import numpy as np
import openai
from numpy.typing import NDArray
from tokenizers import Tokenizer

TEXTS = [
    "theorem Nat.add_comm (n m : Nat) : Eq (HAdd.hAdd n m) (HAdd.hAdd m n)",
    "theorem Nat.add_zero (n : Nat) : Eq (HAdd.hAdd n 0) n",
    "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n",
]
RETRIES = 8
"""The client waits as long as a 429 or 503 tells it to (`Retry-After`) and asks again, this many times."""
REQUESTS_AT_ONCE = 4


def embed(client: openai.OpenAI, model: str, texts: list[str]) -> NDArray[np.float32]:
    """One request: unit vectors of shape (texts, dimension), so that their inner products are cosines.

    At most 2,048 texts.  The client asks for base64, which is far smaller than decimal numbers, and decodes it.
    """
    answer = client.embeddings.create(model=model, input=texts)
    return np.array([item.embedding for item in answer.data], dtype=np.float32)


async def embed_in_parts(
    client: openai.AsyncOpenAI, model: str, texts: list[str], part: int = 64
) -> NDArray[np.float32]:
    """The same for any number of texts, in several requests of which only some are open at a time."""
    places = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def one(some: list[str]) -> list[list[float]]:
        async with places:
            answer = await client.embeddings.create(model=model, input=some)
        return [item.embedding for item in answer.data]

    parts = await asyncio.gather(*(one(texts[start : start + part]) for start in range(0, len(texts), part)))
    return np.array([vector for vectors in parts for vector in vectors], dtype=np.float32)


def embed_token_ids(client: openai.OpenAI, model: str, token_ids: list[list[int]]) -> NDArray[np.float32]:
    """Of texts that are tokenised already, by the model's own tokenizer and with its special tokens.

    Ids of another tokenizer are refused with 400 when the model has no such id, and mean nothing when it has.
    """
    answer = client.embeddings.create(model=model, input=token_ids)
    return np.array([item.embedding for item in answer.data], dtype=np.float32)


def main() -> int:
    """Show each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the server")
    parser.add_argument("--model", help="one of /v1/models; the first of them if not given")
    parser.add_argument("--tokenizer", help="tokenizer.json of the model, to send token ids")
    asked = parser.parse_args()
    key = os.environ.get("PREMISES_API_KEY", "none")  # the client insists on one; a server without keys ignores it
    with openai.OpenAI(base_url=f"{asked.url}/v1", api_key=key, max_retries=RETRIES) as client:
        try:
            model = asked.model or client.models.list().data[0].id
            show_the_nearest(embed(client, model, TEXTS))
            print(f"in parts: {asyncio.run(many(asked.url, key, model)).shape}")
            if asked.tokenizer:
                tokenizer = Tokenizer.from_file(asked.tokenizer)
                token_ids = [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]
                print(f"from token ids: {embed_token_ids(client, model, token_ids).shape}")
        except openai.RateLimitError as busy:
            seconds = busy.response.headers.get("retry-after", "some")
            print(f"The server is still busy after {RETRIES} tries: come back in {seconds} seconds.", file=sys.stderr)
            return 1
        except openai.APIStatusError as refused:
            print(f"{refused.status_code}: {refused.message}", file=sys.stderr)
            return 1
    return 0


def show_the_nearest(vectors: NDArray[np.float32]) -> None:
    """Which theorem is nearer to the goal, the last text."""
    *theorems, goal = vectors
    for text, vector in zip(TEXTS[:-1], theorems, strict=True):
        print(f"{float(vector @ goal):.3f}  {text}")


async def many(url: str, key: str, model: str) -> NDArray[np.float32]:
    """Two hundred texts."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=RETRIES) as client:
        return await embed_in_parts(client, model, [f"{TEXTS[0]} -- {number}" for number in range(200)])


if __name__ == "__main__":
    sys.exit(main())
