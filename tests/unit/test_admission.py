from api.admission import estimated_tokens


def test_a_text_costs_what_the_model_reads_of_it() -> None:
    assert estimated_tokens(["a" * 100, "", "⊢"], 0.5, 512) == 50 + 1 + 2
    assert estimated_tokens(["a" * 16_000_000, "b"], 0.5, 512) == 513
