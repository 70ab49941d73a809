"""Planning's pure parts: units, monotony, and that an estimate never passes its bound."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.benching.result import block_of
from mira_stream.catalog import load_catalog
from mira_stream.errors import ConfigError, UsageError
from mira_stream.planning.card import beside
from mira_stream.planning.config_file import check_config
from mira_stream.planning.corpus import QUANTILES, RATIO_MAX, Corpus
from mira_stream.planning.fleet import PARTITIONS_AN_ENGINE, Wanted, engines_for, fleet
from mira_stream.planning.gpus import GB, find_gpu, load_gpus
from mira_stream.planning.layers import REFUSED, Layer, layers_of
from mira_stream.planning.measured import rate_of, reply_tokens_of
from mira_stream.planning.roofline import Efficiency, Engine, checked, context_notes, memory, roofline, smallest
from tests.unit.planning_models import CORPORA, ENGINES, GPU, HYBRID, model
from tests.unit.test_benching import run, turn

MODEL = model()
SHARE = st.builds(Efficiency, st.floats(0.01, 1), st.floats(0.01, 1))
SMALL = Corpus(documents=1000, mean_tokens=500, reply_tokens=100)


def test_only_full_attention_grows_without_end() -> None:
    linear, _, sliding, full = layers_of(HYBRID, "bfloat16")
    assert (full.kv_heads, full.kv_elements, full.window, full.state_bytes) == (2, 2 * 64, None, 0)
    assert (sliding.window, sliding.kept(1000), sliding.kept(5)) == (128, 128, 5)
    assert (linear.kv_heads, linear.state_bytes) == (0, 2 * (3 * (2 * 2 * 16 + 4 * 32) + 4 * 32 * 16))
    assert MODEL.token_bytes() == 2 * 2 * 2 * 64
    grown = MODEL.kept_bytes(20_001) - MODEL.kept_bytes(20_000)
    assert grown == MODEL.token_bytes()
    assert MODEL.kept_bytes(0) == MODEL.state_bytes() == 2 * linear.state_bytes


def test_a_state_kept_in_float32_takes_what_config_json_says() -> None:
    wide = layers_of(HYBRID | {"mamba_ssm_dtype": "float32"}, "bfloat16")[0]
    assert wide.state_bytes - layers_of(HYBRID, "bfloat16")[0].state_bytes == 2 * 4 * 32 * 16


def test_latent_attention_keeps_one_vector_for_all_heads() -> None:
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
    (layer,) = layers_of({"num_hidden_layers": 1, "num_attention_heads": 16, **latent}, "bfloat16")
    assert (layer.kv_heads, layer.kv_elements) == (1, 576)
    assert model([layer]).token_bytes(8) == model([layer]).token_bytes(1) == 2 * 576


@pytest.mark.parametrize("config", [{name: 1} for name in REFUSED] + [
    {"layer_types": ["mamba"] * 4}, {"layer_types": ["full_attention"]}, {"head_dim": None, "hidden_size": None},
    {"sliding_window": None}, {"num_key_value_heads": 5}, {"linear_conv_kernel_dim": 0}, {"mamba_ssm_dtype": "int8"},
])  # fmt: skip
def test_what_cannot_be_counted_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model_layout"):
        layers_of(HYBRID | config, "bfloat16")


def test_a_model_without_layer_types_is_of_one_kind() -> None:
    plain = {name: value for name, value in HYBRID.items() if name != "layer_types"}
    assert {layer.kind for layer in layers_of(plain, "bfloat16")} == {"sliding_attention"}
    assert {layer.kind for layer in layers_of(plain | {"sliding_window": None}, "bfloat16")} == {"full_attention"}


@given(st.integers(0, 400), st.integers(0, 400), st.none() | st.integers(1, 300))
def test_pairs_are_the_area_under_what_is_kept(first: int, more: int, window: int | None) -> None:
    layer = Layer(kind="x", window=window)
    counted = sum(layer.kept(token + 0.5) for token in range(first, first + more))
    assert layer.pairs(first, first + more) == pytest.approx(counted)


@given(CORPORA)
def test_lengths_have_the_mean_and_the_percentile(corpus: Corpus) -> None:
    found = replace(corpus, document_tokens_max=None).lengths()
    assert found == sorted(found)
    assert sum(found) / len(found) == pytest.approx(corpus.mean_tokens)
    if corpus.p95_tokens is not None and corpus.p95_tokens < 0.9 * RATIO_MAX * corpus.mean_tokens:
        below = sum(one <= corpus.p95_tokens * 1.05 for one in found) / QUANTILES
        assert below >= 0.94
    assert all(one <= (corpus.document_tokens_max or one) for one in corpus.lengths())


@pytest.mark.parametrize("ratio", [0.5, RATIO_MAX + 0.01])
def test_lengths_that_no_log_normal_has_are_refused(ratio: float) -> None:
    with pytest.raises(UsageError, match="lengths_unlike"):
        Corpus(documents=1, mean_tokens=100, p95_tokens=100 * ratio).lengths()


@given(CORPORA, ENGINES, SHARE)
def test_an_estimate_never_passes_the_bound(corpus: Corpus, engine: Engine, share: Efficiency) -> None:
    assume(memory(MODEL, engine, corpus).fits)
    found = roofline(MODEL, engine, corpus, share)
    assert 0 < found.planned_documents_per_s <= found.bound_documents_per_s * (1 + 1e-9)
    assert (found.decode_s > 0) == (corpus.reply_tokens > 1)
    peak = roofline(MODEL, engine, corpus, Efficiency(1, 1))
    assert peak.planned_documents_per_s >= found.planned_documents_per_s * (1 - 1e-9)


@given(CORPORA, ENGINES, st.integers(1, 3_000), st.floats(1, 10_000))
def test_more_is_never_less(corpus: Corpus, engine: Engine, reply: int, tokens: float) -> None:
    """Longer documents, prefixes or replies never raise the rate; more documents never lower the hours."""
    share = Efficiency()
    longer = replace(corpus, mean_tokens=corpus.mean_tokens + tokens, p95_tokens=None)
    plain = replace(corpus, p95_tokens=None)
    said = replace(plain, reply_tokens=corpus.reply_tokens + reply)
    around = replace(plain, prefix_tokens=corpus.prefix_tokens + reply)
    assume(all(memory(MODEL, engine, one).fits for one in (longer, said, around)))
    before = roofline(MODEL, engine, plain, share)
    for one in (longer, said, around):
        after = roofline(MODEL, engine, one, share)
        assert after.planned_documents_per_s <= before.planned_documents_per_s * (1 + 1e-9)
        assert after.bound_documents_per_s <= before.bound_documents_per_s * (1 + 1e-9)
    hours = [
        fleet(count, before.planned_documents_per_s, 1, 3).hours for count in (corpus.documents, 2 * corpus.documents)
    ]
    assert hours[1] == pytest.approx(2 * hours[0])


def test_the_roof_of_a_plain_case_by_hand() -> None:
    """One full layer, no experts, 1 token of reply: 2 FLOP a parameter and token, and the square of attention."""
    layer = Layer(kind="full_attention", kv_heads=2, kv_elements=128, pair_flop=1000)
    plain = replace(model([layer], routed=1.0), expert_share=0.0)
    engine = Engine(gpu=GPU, batch_tokens=10**9)
    found = roofline(plain, engine, Corpus(documents=1, mean_tokens=4000, reply_tokens=1), Efficiency(1, 1))
    flop = 2 * (plain.body * 4000 + plain.output) + 1000 * 4000**2 / 2
    assert found.prefill_s == pytest.approx(flop / 300e12)
    assert found.planned_documents_per_s == pytest.approx(found.bound_documents_per_s) == pytest.approx(300e12 / flop)
    decode = roofline(
        plain, replace(engine, sequences_max=1), replace(SMALL, reply_tokens=2), Efficiency(1, 1)
    ).decode_s
    kept = plain.kept_bytes(500.5)
    assert decode == pytest.approx((plain.weights_bytes - plain.unread_bytes + kept) / 2e12)


def test_experts_are_read_as_far_as_tokens_meet_them() -> None:
    one, many = MODEL.read_bytes(1), MODEL.read_bytes(10**6)
    assert many == MODEL.weights_bytes - MODEL.unread_bytes
    assert many - one == pytest.approx(0.5 * MODEL.weights_bytes * (1 - MODEL.routed))


def test_memory_is_what_weights_leave_and_heads_are_repeated() -> None:
    held = [memory(MODEL, Engine(gpu=GPU, gpus=gpus), SMALL) for gpus in (1, 2, 8)]
    assert [one.weights_gb for one in held] == pytest.approx([2, 1, 0.25])
    assert held[0].cache_gb == pytest.approx(0.9 * 80 - 2)
    assert [one.token_bytes for one in held] == [512, 256, 256]  # two kv heads over eight GPUs: one on each
    assert held[0].sequences == int(held[0].cache_gb * GB // MODEL.kept_bytes(600))
    shared = memory(MODEL, Engine(gpu=GPU), replace(SMALL, prefix_tokens=20_000))
    once = MODEL.kept_bytes(20_000) - MODEL.state_bytes()
    assert shared.sequences == int((held[0].cache_gb * GB - once) // MODEL.kept_bytes(600)), "the prefix is there once"


def test_documents_beyond_the_models_context_are_said_and_where_none_fits_refused() -> None:
    short, some = replace(MODEL, context_tokens=700), replace(SMALL, p95_tokens=900, prefix_tokens=50)
    assert context_notes(MODEL, some) == [], "its context is not known"
    assert context_notes(short, SMALL) == []
    (note,) = context_notes(short, some)
    over = sum(length > 550 for length in some.lengths()) / QUANTILES
    assert 0 < over < 1
    assert note.startswith(f"{over:.0%} of the documents")
    assert "--document-tokens-max 550" in note
    assert context_notes(short, replace(some, document_tokens_max=550)) == []
    for tokens, fix in ((400, "--document-tokens-max 300"), (100, "longer context")):
        with pytest.raises(UsageError, match="context_short") as refused:
            context_notes(replace(MODEL, context_tokens=tokens), SMALL)
        assert fix in refused.value.fix


def test_the_fewest_gpus_that_hold_it() -> None:
    assert smallest(model(parameters=10**10), Engine(gpu=GPU), SMALL).gpus == 1
    assert smallest(model(parameters=5 * 10**10), Engine(gpu=GPU), SMALL).gpus == 2
    assert smallest(model(parameters=25 * 10**10), Engine(gpu=GPU), SMALL).gpus == 8
    with pytest.raises(UsageError, match="gpu_small"):
        smallest(model(parameters=10**12), Engine(gpu=GPU), SMALL)
    with pytest.raises(UsageError, match="heads_split"):
        checked(MODEL, Engine(gpu=GPU, gpus=3), SMALL)
    with pytest.raises(UsageError, match="gpu_small"):
        checked(model(parameters=5 * 10**10), Engine(gpu=GPU), SMALL)


@pytest.mark.parametrize(
    ("billions", "share", "tokens", "cause", "fix"),
    [
        (30, 0.5, 500, "60 GB of weights alone", "--gpu-memory-utilization over 0.75"),
        (500, 0.9, 500, "weights alone", "take a GPU with more memory"),
        (30, 0.9, 10**10, "10,000,000,100 tokens", "--document-tokens-max"),
    ],
)
def test_what_does_not_fit_is_named_with_what_helps(
    billions: int, share: float, tokens: float, cause: str, fix: str
) -> None:
    corpus = replace(SMALL, mean_tokens=tokens)
    with pytest.raises(UsageError, match="gpu_small") as refused:
        checked(model(parameters=billions * 10**9), Engine(gpu=GPU, memory_share=share), corpus)
    assert cause in refused.value.cause
    assert fix in refused.value.fix


@given(st.integers(1, 10**9), st.floats(1e-3, 1e4), st.floats(0.01, 1e4))
def test_so_many_engines_are_done_in_time_and_one_fewer_is_not(documents: int, rate: float, hours: float) -> None:
    least = documents / rate / 3600 / hours
    if least > documents:
        with pytest.raises(UsageError, match="plan_wanted"):
            engines_for(Wanted(hours=hours), documents, rate, 2)
        return
    count = engines_for(Wanted(hours=hours), documents, rate, 2)
    taken = fleet(documents, rate, 2, count)
    assert taken.hours <= hours * (1 + 1e-9)
    assert count == 1 or fleet(documents, rate, 2, count - 1).hours > hours * (1 - 1e-9)
    assert (taken.gpus, taken.partitions) == (2 * count, PARTITIONS_AN_ENGINE * count)
    assert taken.gpu_hours == pytest.approx(taken.gpus * taken.hours)


def test_engines_as_wanted() -> None:
    assert engines_for(Wanted(), 9, 1.0, 2) == 4
    assert engines_for(Wanted(), 3, 1.0, 2) == 3, "a fourth would have no document"
    assert engines_for(Wanted(gpus=7), 9, 1.0, 2) == 3
    for idle in (Wanted(engines=3), Wanted(gpus=7), Wanted(hours=1e-4)):
        with pytest.raises(UsageError, match="plan_wanted: 2 documents leave some of"):
            engines_for(idle, 2, 1.0, 2)
    assert engines_for(Wanted(engines=5), 5, 1.0, 0) == 5
    assert engines_for(Wanted(), 1, 1.0, 0) == 1
    for wanted, code in ((Wanted(gpus=1), "gpus_few"), (Wanted(gpus=2, hours=1), "plan_wanted")):
        with pytest.raises(UsageError, match=code):
            engines_for(wanted, 1, 1.0, 2)
    for wanted in (Wanted(gpus=8), Wanted(engines=2)):
        with pytest.raises(UsageError, match="plan_wanted"):
            engines_for(wanted, 1, 1.0, 0)


def measured(**changes: Any) -> Any:
    one = replace(turn(10), dead_letters=0, prompt_tokens=100 * 200, cached_tokens=0, generation_tokens=100 * 30)
    settings = {"groups": {"text": {"mode": "scores", "tensor_parallel_size": 2}}}
    made = replace(run([one] * 2, "engine"), settings=settings, machine={"gpus": ["x", "x"]}, load={"shape": "closed"})
    return replace(made, **changes)


def test_a_measured_rate_is_scaled_by_whichever_is_more() -> None:
    rate = rate_of(measured(), Corpus(documents=10, mean_tokens=300, prefix_tokens=100, reply_tokens=15))
    assert (rate.gpus, rate.prompts.tokens, rate.reply_tokens, rate.factor) == (2, 200, 30, 2)
    assert rate.measured_documents_per_s == pytest.approx(10)
    assert rate.documents_per_s == pytest.approx(5)
    said = rate_of(measured(), Corpus(documents=10, mean_tokens=100, reply_tokens=300))
    assert said.factor == 10
    assert any("attention grows faster" in note for note in said.notes)
    assert (said.prompt_factor, said.reply_factor) == (0.5, 10)
    assert rate_of(measured(machine={"gpus": []}), SMALL).gpus == 0


def test_a_run_of_endpoints_is_not_planned_as_this_machine() -> None:
    endpoint = {
        "mode": "scores",
        "tensor_parallel_size": 1,
        "engine": "openai",
        "base_urls": ["http://a:1/v1", "http://b:1/v1"],
    }
    rate = rate_of(measured(settings={"groups": {"text": endpoint}}), SMALL)
    assert rate.gpus == 0, "those of this machine are not its"
    notes = rate.notes
    assert any("measured of endpoints, http://a:1/v1, http://b:1/v1" in note for note in notes)
    assert not any("an engine is a machine like that one" in note for note in notes)
    assert any("an engine is a machine like that one" in note for note in rate_of(measured(machine={}), SMALL).notes)


def test_documents_that_the_runs_project_cuts_are_said() -> None:
    settings = {"mode": "scores", "tensor_parallel_size": 1, "document_tokens_max": 448, "context_tokens_max": 1280}
    short = measured(settings={"groups": {"text": settings}})

    def said(**changes: Any) -> str:
        return " ".join(rate_of(short, Corpus(documents=9, reply_tokens=30, **changes)).notes)

    whole = "longer than the 448 tokens that the run's project reads of one"
    assert f"100% of the documents are {whole}" in said(mean_tokens=3000)
    assert "--document-tokens-max 448 plans them cut" in said(mean_tokens=3000)
    assert whole in said(mean_tokens=300, p95_tokens=600)
    assert whole not in said(mean_tokens=3000, document_tokens_max=448)
    assert whole not in said(mean_tokens=300)
    assert "1,330 tokens; the run's project takes 1,280" in said(mean_tokens=400, prefix_tokens=900)
    assert "context_tokens_max" not in said(mean_tokens=400, prefix_tokens=800)
    assert whole not in " ".join(rate_of(measured(), Corpus(documents=9, mean_tokens=3000)).notes), "it does not say"


def test_a_measured_rate_is_that_of_the_runs_own_result() -> None:
    fast = measured().turns[0]
    slow = replace(fast, seconds=100.0)
    uneven = measured(turns=[fast, fast, slow])
    rate = rate_of(uneven, SMALL)
    assert rate.measured_documents_per_s == block_of(uneven.turns).documents_per_s == 10
    assert any("its repetitions differ: 10.00 documents/s is their median" in note for note in rate.notes)
    assert not any("repetitions differ" in note for note in rate_of(measured(), SMALL).notes)
    nothing = replace(fast, dead_letters=100)
    with pytest.raises(UsageError, match="in half of its turns"):
        rate_of(measured(turns=[fast, nothing, nothing]), SMALL)


def test_a_rate_that_was_given_names_the_run_that_would_tell_what_the_engine_holds() -> None:
    def said(shape: str) -> str:
        return " ".join(rate_of(measured(load={"shape": shape}), SMALL).notes)

    command = "mira-stream bench engine --group text"
    assert f"a run without --rate ({command}), or with --ramp" in said("open")
    assert f"without a limit says {command}" in said("ramp")
    assert command not in said("closed")


def test_replies_as_long_as_the_runs_are_not_counted_as_cheaper() -> None:
    short = Corpus(documents=10, mean_tokens=40, reply_tokens=reply_tokens_of(measured()))
    found = rate_of(measured(), short)
    assert (short.reply_tokens, found.factor) == (30, 1)
    assert found.documents_per_s == pytest.approx(10)
    nothing = measured(turns=[replace(turn(10), generation_tokens=0)])
    assert reply_tokens_of(nothing) == 0
    assert rate_of(nothing, Corpus(documents=10, mean_tokens=100)).reply_tokens == 0


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"kind": "kafka"}, ""),
        ({"settings": {"groups": {}}}, ""),
        ({"settings": {"groups": {"text": {}}}}, ""),
        ({"settings": {"groups": ["text"]}}, ""),
        ({"settings": {}}, ""),
        ({}, "rationale"),
        ({"turns": [replace(turn(10), dead_letters=100)]}, ""),
        ({"turns": [replace(turn(10), generation_tokens=0)]}, ""),
    ],
)
def test_a_run_that_tells_no_rate_is_refused(changes: dict[str, Any], mode: str) -> None:
    with pytest.raises(UsageError, match="plan_run"):
        rate_of(measured(**changes), replace(SMALL, mode=mode))


def test_every_gpu_names_its_source_and_an_unknown_one_is_refused() -> None:
    known = load_gpus()
    assert all("data sheet" in gpu.source and gpu.name.startswith("NVIDIA") for gpu in known.values())
    assert load_catalog().figures.gpu in known
    with pytest.raises(UsageError, match="h200-sxm"):
        find_gpu("none")


def test_the_cards_own_figures_agree_with_one_another() -> None:
    figures = load_catalog().figures
    gpu = find_gpu(figures.gpu)
    assert gpu.memory_gb * load_catalog().serving.gpu_memory_utilization - figures.weights_gb == pytest.approx(
        figures.cache_gb, abs=0.5
    )
    rows = beside(figures, MODEL, Engine(gpu=gpu))
    assert [row.card for row in rows[:2]] == [70, 57]
    assert rows[2].card == pytest.approx(57e9 / 4 / 65_536)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"{", "truncated"), (b"[1]", "no JSON object"), (b"", "truncated")]
)
def test_a_config_that_is_none_is_refused_before_it_is_read(tmp_path: Path, content: bytes | None, why: str) -> None:
    with pytest.raises(ConfigError, match=r"base_unreadable: .* is no folder"):
        check_config(tmp_path / "none")
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match="base_unreadable") as refused:
        check_config(tmp_path)
    assert why in refused.value.cause
    (tmp_path / "config.json").write_bytes(b"{}")
    check_config(tmp_path)
