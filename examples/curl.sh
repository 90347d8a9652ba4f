#!/bin/sh
# Premises and embeddings with curl alone.
#
#   PREMISES_URL=http://127.0.0.1:8000 PREMISES_MODEL=demo sh examples/curl.sh
#
# A server with keys takes one inside the address, with any user name: PREMISES_URL=http://user:KEY@host:8000
set -eu
url="${PREMISES_URL:-http://127.0.0.1:8000}"
model="${PREMISES_MODEL:-demo}"

# Where an answer is an error, its body says what to do: --fail-with-body (curl 7.76) shows it and fails.
ask() {
  curl --silent --show-error --fail-with-body --max-time 130 --header 'Content-Type: application/json' "$@"
  echo
}

echo '# The best premises for a goal: names and scores. The new lemma takes part.'
ask "$url/retrieve" --data @- <<'JSON'
{
  "state": "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n",
  "new_premises": [
    {"name": "My.add_zero", "decl": "theorem My.add_zero (a : Nat) : Eq (HAdd.hAdd a 0) a"}
  ],
  "k": 5
}
JSON

echo '# Only premises of these modules (names, or positions in /indexed-modules).'
ask "$url/retrieve" --data @- <<'JSON'
{"state": "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n", "imported_modules": ["Init.Core", "Init.Prelude"], "k": 5}
JSON

echo '# The models that are served.'
ask "$url/v1/models"

echo '# Embeddings of two texts, in the form of OpenAI.'
ask "$url/v1/embeddings" --data @- <<JSON
{"model": "$model", "input": ["theorem Nat.add_zero (n : Nat) : Eq (HAdd.hAdd n 0) n", "n : Nat\\n⊢ True"]}
JSON
