"""Verdicts about the machine and the project from facts. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from mira_stream.doctor.verdict import Verdict, fail, ok, skipped, warn

GIB: Final = 2**30
DISK_FAIL_BYTES: Final = 512 * 2**20
"""Below this the embedded broker does not start."""
DISK_WARN_BYTES: Final = 5 * GIB
FILES_FAIL: Final = 256
FILES_WARN: Final = 4096
NETWORK_FILE_SYSTEMS: Final = ("nfs", "cifs", "smb", "fuse", "9p")


def python(version: tuple[int, int, int], bits: int) -> Verdict:
    said = f"{'.'.join(map(str, version))}, {bits} bit"
    if version < (3, 11, 0) or bits != 64:
        return fail(said, "use a 64-bit Python 3.11 or newer, and set up anew: python3 requirements/install.py")
    return ok(said)


def packages(
    wanted: Mapping[str, Collection[str]], installed: Mapping[str, str], only_some: Collection[str] = ()
) -> Verdict:
    """`wanted`: pinned versions by name, any of several; `only_some`: what not every machine needs. A local part of a
    version (`+cpu`) does not count."""
    other = [
        f"{name} {installed.get(name, 'missing')} instead of {' or '.join(sorted(versions))}"
        for name, versions in sorted(wanted.items())
        if (name in installed or name not in only_some)
        and installed.get(name, "missing").partition("+")[0] not in {one.partition("+")[0] for one in versions}
    ]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        return fail("; ".join(other[:3]) + more, "install what was tested: python3 requirements/install.py")
    return ok(f"{len(wanted)} pinned packages as tested")


def memory(needed: Mapping[str, int], total: int, available: int) -> Verdict:
    """Bytes: weights and KV caches of the groups whose engines run here, and the broker's heap."""
    if not needed:
        return skipped("no engine and no broker runs on this machine")
    whole = sum(needed.values())
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in needed.items())
    said = f"{whole / GIB:.1f} GiB needed at least ({parts}), {available / GIB:.1f} of {total / GIB:.1f} GiB available"
    fix = "lower kv_cache_gib, run groups on other machines (`score --group`), or add memory"
    if whole > total:
        return fail(said, fix)
    return warn(said, f"end what else uses memory; or {fix}") if whole > available else ok(said)


def disk(what: str, free: int) -> Verdict:
    said = f"{free / GIB:.1f} GiB free for {what}"
    if free < DISK_FAIL_BYTES:
        return fail(said, "free space, or name another folder")
    return warn(said, "free space before a long run") if free < DISK_WARN_BYTES else ok(said)


def data_dir(owned: bool, writable: bool, file_system: str, held_by: str) -> Verdict:
    """`held_by`: who runs there now; empty if nobody does."""
    if not owned or not writable:
        whose = "belongs to another user" if not owned else "cannot be written"
        return fail(f"the folder {whose}", "correct its owner and rights, or name another [broker] data_dir")
    if file_system.startswith(NETWORK_FILE_SYSTEMS):
        return warn(
            f"it lies on {file_system}", "put [broker] data_dir on a local disk: locks and syncs are its safety"
        )
    return ok(f"held by {held_by}" if held_by else f"free, on {file_system or 'a file system that is not told'}")


def open_files(soft: int) -> Verdict:
    said = f"{soft:,} files may be open"
    if soft < FILES_FAIL:
        return fail(said, f"ulimit -n {FILES_WARN}")
    return (
        warn(said, f"ulimit -n {FILES_WARN}: every partition and connection takes some")
        if soft < FILES_WARN
        else ok(said)
    )


def processor(flags: frozenset[str], engines: int, gpus: int) -> Verdict:
    """`engines`: groups whose vLLM runs here."""
    if not engines:
        return skipped("no vLLM engine runs on this machine")
    if gpus:
        return ok("engines run on the GPU")
    if not flags:
        return skipped("the processor does not tell its features")
    if "avx2" not in flags:
        return fail("no AVX2", 'vLLM\'s CPU build needs it: use a GPU, or an endpoint (engine = "openai")')
    if "avx512f" not in flags:
        return ok("AVX2 without AVX-512: engines run in float32")
    return ok("AVX-512" + (" with bfloat16" if "avx512_bf16" in flags else "; bfloat16 by conversion"))


def gpu(gpus: int, gpu_build: bool, tensor_parallel: int) -> Verdict:
    """`tensor_parallel`: the most GPUs that one group here asks for; 0 without engines."""
    if not tensor_parallel:
        return skipped("no vLLM engine runs on this machine")
    if gpu_build and gpus < tensor_parallel:
        return fail(
            f"{gpus} GPUs are seen, {tensor_parallel} are asked for",
            "see nvidia-smi and CUDA_VISIBLE_DEVICES, or lower tensor_parallel_size",
        )
    if gpus and not gpu_build:
        return warn(f"{gpus} GPUs are not used: the CPU build of vLLM is installed", "install the `gpu` extra instead")
    if not gpu_build and tensor_parallel > 1:
        return warn(
            f"mira.toml asks for {tensor_parallel} (tensor_parallel_size), and the CPU build of vLLM is installed",
            'run it where they are, with the `gpu` extra; or serve the student there: engine = "openai" and base_urls',
        )
    return ok(f"{gpus} GPUs" if gpu_build else "none, and none is needed by the CPU build")


def insecure_serialization(value: str) -> Verdict:
    if value not in ("", "0"):
        return fail(
            "VLLM_ALLOW_INSECURE_SERIALIZATION is set: whoever reaches the engine's sockets runs code in it",
            "unset VLLM_ALLOW_INSECURE_SERIALIZATION",
        )
    return ok("VLLM_ALLOW_INSECURE_SERIALIZATION is not set")


def proxies(names: Sequence[str], no_proxy: str, hosts: Sequence[str]) -> Verdict:
    """`names`: proxy variables that are set; `hosts`: of the HTTP endpoints that are used."""
    if not names or not hosts:
        return ok("no proxy is set" if not names else "set, and no endpoint is used")
    covered = [entry.strip().lstrip(".") for entry in no_proxy.split(",") if entry.strip()]
    through = [host for host in hosts if "*" not in covered and not any(host.endswith(entry) for entry in covered)]
    if through:
        return warn(
            f"{', '.join(names)}: questions to {', '.join(through)} go through a proxy",
            f"if that is not meant: export NO_PROXY={','.join([*covered, *through])}",
        )
    return ok("endpoints are excepted by NO_PROXY")


def same_rubric(group: str, rubric: str, table: str | None, labels: str | None) -> Verdict:
    """Versions of the group's rubric, and of those its reliability table and labels were made with; None: not there."""
    again = f"mira-stream pipeline --group {group}"
    for what, version in (("reliability table", table), ("labels", labels)):
        if version is not None and version != rubric:
            return fail(f"{what} of rubric {version}, the group's rubric is {rubric}", f"make them anew: {again}")
    if table is None:
        return warn(
            f"rubric {rubric}, no reliability table: all fifteen dimensions count",
            f"measure the student: mira-stream reliability --group {group}",
        )
    return ok(f"all of rubric {rubric}")


def context(prompt: int, document: int, reply: int, room: int) -> Verdict:
    """Tokens."""
    said = f"prompt {prompt} + document {document} + reply {reply} = {prompt + document + reply} of {room} tokens"
    if prompt + document + reply > room:
        return fail(said, "raise context_tokens_max, or lower document_tokens_max, reply_tokens_max or the prompt")
    return ok(said)


def tokenizer(specials: int, tokens: int, vocabulary: int | None) -> Verdict:
    """`tokens`: the largest id and one; `vocabulary`: rows of the student's embedding."""
    if vocabulary is not None and tokens > vocabulary:
        return fail(f"{tokens} tokens for a vocabulary of {vocabulary}", "copy tokenizer and weights of one student")
    if not specials:
        return warn("it has no special tokens", "a chat model marks turns with some: copy the whole model folder")
    return ok(f"{tokens} tokens, {specials} special ones")
