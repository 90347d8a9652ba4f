"""The part of redis-cli that docs/operations.md uses, for machines without one: `python -m tests.redis_cli`."""

import sys

import redis


def main(arguments: list[str]) -> None:
    """`-u URL --scan --pattern P`, or `-u URL` and a command; prints a value a line, as redis-cli does in a pipe."""
    _, url, *rest = arguments
    with redis.Redis.from_url(url, decode_responses=True) as client:
        if rest[0] == "--scan":
            sys.stdout.writelines(f"{key}\n" for key in client.scan_iter(rest[2]))
        else:
            connection = client.connection_pool.get_connection()
            connection.send_command(*rest)
            print_answer(connection.read_response())
            client.connection_pool.release(connection)


def print_answer(answer: object) -> None:
    """Lists one element a line, maps as key and value in turn."""
    if isinstance(answer, dict):
        answer = [part for pair in answer.items() for part in pair]
    for part in answer if isinstance(answer, list) else [answer]:
        sys.stdout.write(f"{'' if part is None else part}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
