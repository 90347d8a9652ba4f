"""How many tokens a batch may hold, by device."""

LARGEST_CPU_BATCH_TOKENS = 16384

DEFAULT_BATCH_TOKENS = {
    "cpu": 2048,  # 256 to 8192 are within 10 % of one another there, and a short batch is a short wait
    "mps": 8192,
    "cuda": 65536,  # enough rows to fill a large GPU; activations stay within a few GB
}


def default_batch_tokens(device: str) -> int:
    """Tokens of one batch where the operator says nothing; `device` as torch names it (`cuda:0`)."""
    return DEFAULT_BATCH_TOKENS[device.partition(":")[0]]


def capped_batch_tokens(requested: int | None, device: str) -> tuple[int, str | None]:
    """The tokens to use, and a warning where a GPU-sized value was given for a CPU."""
    if requested is None:
        return default_batch_tokens(device), None
    if device == "cpu" and requested > LARGEST_CPU_BATCH_TOKENS:
        return LARGEST_CPU_BATCH_TOKENS, (
            f"MAX_BATCH_TOKENS={requested} is a size for a GPU: this worker runs on a CPU and uses "
            f"{LARGEST_CPU_BATCH_TOKENS}. Unset it to leave the choice to the worker."
        )
    return requested, None
