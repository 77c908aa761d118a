"""Fusion: what every way of combining modalities has in common."""

from collections.abc import Mapping

import keras
from keras import ops

from kmmft.layers.modality_dropout import ModalityDropout


class Fusion(keras.layers.Layer):
    """Base of the fusion layers: reads the modalities, then calls `fuse`.

    A fusion takes the outputs of several encoders and returns one vector per
    example. This class does what is the same for every method:

    - It takes each modality's `pooled` or `tokens`, as `source` says, and gives it
      a projection to `hidden_dim`. Modalities are always visited in the order of
      their names, so the order of a dict never matters.
    - Where an example lacks a modality, it puts a learnt replacement in its place:
      a vector, or one token with all others masked. Nothing that the absent
      input holds, NaN included, reaches the output or the gradients. An example
      whose `mask` is all False counts as absent.
    - In training it may hide modalities at random, never all that an example has.

    A method overrides `fuse` and, where it has weights of its own, `build`.

    Args:
        hidden_dim: Width into which each modality is projected, and of the output.
        dropout_rate: Dropout on the fused vector.
        modality_dropout_rate: Chance that a modality of an example is hidden in
            training; see `ModalityDropout`.
        seed: Seed of these two dropouts; those inside attention blocks follow
            `keras.utils.set_random_seed`.

    Call arguments:
        features: dict, modality name to encoder output `{"pooled": (batch, dim),
            "tokens": (batch, length, dim), "mask": (batch, length) bool}`. A
            modality without tokens, such as a table row, may give `pooled` alone
            and counts as one token; without `mask` all tokens are real.
        present: optional dict, modality name to bool tensor `(batch,)`, False
            where the example lacks the modality. Modalities that it does not name
            are present.
        training: bool.

    Returns:
        float tensor `(batch, output_dim)`.

    Raises:
        ValueError: If the modalities are not those that the method takes.

    Example:
        >>> class SumFusion(kmmft.layers.Fusion):
        ...     def fuse(self, inputs, masks, training):
        ...         return sum(self.projections[name](inputs[name]) for name in inputs)
        >>> features = {"image": {"pooled": np.ones((2, 6))},
        ...             "text": {"pooled": np.ones((2, 4))}}
        >>> SumFusion(8)(features, present={"text": np.array([True, False])}).shape
        TensorShape([2, 8])

    References:
        - [Neverova et al., 2015](https://arxiv.org/abs/1501.00102), ModDrop.
    """

    min_modalities = 1
    max_modalities = None
    roles = ()  # arguments that name a modality

    def __init__(
        self,
        hidden_dim: int,
        dropout_rate: float = 0.0,
        modality_dropout_rate: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("hidden_dim", hidden_dim)
        if not 0 <= modality_dropout_rate < 1:
            raise ValueError(
                "`modality_dropout_rate` must be in [0, 1). Received: "
                f"modality_dropout_rate={modality_dropout_rate}"
            )
        self.hidden_dim = hidden_dim
        self.output_dim = hidden_dim
        self.dropout_rate = dropout_rate
        self.modality_dropout_rate = modality_dropout_rate
        self.seed = seed
        self.dropout = keras.layers.Dropout(
            dropout_rate, seed=seed, dtype=self.dtype_policy
        )
        self.modality_dropout = ModalityDropout(
            modality_dropout_rate, seed, name="modality_dropout"
        )
        self.supports_masking = True

    # === What a method overrides ===
    def source(self, modality: str) -> str:
        """Which encoder output the method reads: `"pooled"` or `"tokens"`."""
        return "pooled"

    @property
    def projection_dim(self) -> int:
        """Width of each modality's projection."""
        return self.hidden_dim

    def fuse(self, inputs: dict, masks: dict, training: bool | None):
        """Computes `(batch, output_dim)` from the inputs, not yet projected.

        `masks` holds `(batch, length)` for the modalities read as tokens.
        """
        raise NotImplementedError

    # === Layers ===
    def build(self, features_shape):
        self.modalities = self._checked_modalities(features_shape)
        self.projections = {}
        self.replacements = {}
        for modality in self.modalities:
            shape = self._source_shape(modality, features_shape[modality])
            self.replacements[modality] = self.add_weight(
                shape=(shape[-1],),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                name=f"{modality}_replacement",
            )
            self.projections[modality] = keras.layers.Dense(
                self.projection_dim,
                dtype=self.dtype_policy,
                name=f"{modality}_projection",
            )
            self.projections[modality].build(shape)

    def call(self, features, present=None, training=None):
        self._check_names(features, present or {})
        presence = self._presence(features, present or {})
        presence = self.modality_dropout(presence, training=training)
        inputs, masks = {}, {}
        for index, modality in enumerate(self.modalities):
            here = presence[:, index : index + 1]
            if self.source(modality) == "pooled":
                inputs[modality] = ops.where(
                    here, features[modality]["pooled"], self.replacements[modality]
                )
            else:
                inputs[modality], masks[modality] = self._read_tokens(
                    modality, features[modality], here
                )
        return self.dropout(self.fuse(inputs, masks, training), training=training)

    # === Missing modalities ===
    def _presence(self, features: Mapping, present: Mapping):
        """Which modalities each example has: bool `(batch, modalities)`."""
        columns = []
        for modality in self.modalities:
            feature = features[modality]
            either = feature["pooled" if "pooled" in feature else "tokens"]
            column = ops.ones(ops.shape(either)[:1], "bool")
            if feature.get("mask") is not None:
                column = ops.any(ops.cast(feature["mask"], "bool"), axis=1)
            if modality in present:
                column = ops.logical_and(column, ops.cast(present[modality], "bool"))
            columns.append(ops.expand_dims(column, 1))
        # Not `stack`: TensorFlow's graph optimizer loses an axis where a stack is
        # sliced by `[:, index, None]`.
        return ops.concatenate(columns, axis=1)

    def _read_tokens(self, modality: str, feature: Mapping, here):
        """Tokens and mask; an absent modality becomes one replacement token."""
        if "tokens" in feature:
            tokens, mask = feature["tokens"], feature.get("mask")
        else:
            tokens, mask = ops.expand_dims(feature["pooled"], 1), None
        if mask is None:
            mask = ops.ones_like(tokens[..., 0], "bool")
        mask = ops.logical_and(ops.cast(mask, "bool"), here)
        # Padding takes the replacement too, which keeps its NaN out of the
        # attention; only an absent modality's first place is ever attended to.
        tokens = ops.where(
            ops.expand_dims(mask, -1), tokens, self.replacements[modality]
        )
        first = ops.arange(ops.shape(tokens)[1], dtype="int32") == 0
        absent = ops.logical_and(ops.logical_not(here), first)
        return tokens, ops.logical_or(mask, absent)

    # === Checks ===
    def _checked_modalities(self, features_shape) -> tuple[str, ...]:
        if not isinstance(features_shape, Mapping) or not all(
            isinstance(shapes, Mapping) for shapes in features_shape.values()
        ):
            raise ValueError(
                f"`{type(self).__name__}` takes a dict from modality name to encoder "
                'output, such as {"image": image_encoder(image)}. Received shapes: '
                f"{features_shape}"
            )
        names = tuple(sorted(features_shape))
        most = self.max_modalities
        if len(names) < self.min_modalities or (most and len(names) > most):
            rule = "exactly" if most == self.min_modalities else "at least"
            raise ValueError(
                f"`{type(self).__name__}` fuses {rule} {self.min_modalities} "
                f"modalities. Received: {list(names)}"
            )
        for role in self.roles:
            if getattr(self, role) not in (None, *names):
                raise ValueError(
                    f"`{role}` must name one of the modalities. Received: "
                    f"{role}={getattr(self, role)!r} and the modalities {list(names)}"
                )
        return names

    def _check_names(self, features: Mapping, present: Mapping):
        if set(features) != set(self.modalities):
            raise ValueError(
                f"`{self.name}` was built for the modalities {list(self.modalities)}. "
                f"Received: {sorted(features)}. Mark one that is missing by `present`."
            )
        unknown = sorted(set(present) - set(self.modalities))
        if unknown:
            raise ValueError(
                f"`present` must name modalities of {list(self.modalities)}. "
                f"Received: {unknown}"
            )

    def _source_shape(self, modality: str, shapes: Mapping) -> tuple:
        """Shape of what is projected; a lone `pooled` counts as one token."""
        source = self.source(modality)
        if source == "tokens" and "tokens" not in shapes and "pooled" in shapes:
            batch, dim = shapes["pooled"]
            return (batch, 1, dim)
        if source not in shapes:
            raise ValueError(
                f"`{type(self).__name__}` needs the {source!r} output of the "
                f"modality {modality!r}. Received: {sorted(shapes)}"
            )
        return tuple(shapes[source])

    # === Shapes and config ===
    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, features_shape) -> tuple:
        modality = min(features_shape)
        batch = self._source_shape(modality, features_shape[modality])[0]
        return (batch, self.output_dim)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "dropout_rate": self.dropout_rate,
            "modality_dropout_rate": self.modality_dropout_rate,
            "seed": self.seed,
        }


def check_positive(name: str, value: int) -> None:
    """Raises a ValueError that names the argument unless its value is at least 1."""
    if value < 1:
        raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
