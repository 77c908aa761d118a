"""Several texts in one row of a text backbone, so that padding costs no time."""

import keras
import keras_hub
from keras import ops

_models = keras_hub.models
_layers = keras_hub.layers
# What mixes the places of a row in them is KerasHub's own layer, which can be told
# which places belong together.
WITH_PACKING = (
    _models.AlbertBackbone,
    _models.BertBackbone,
    _models.DistilBertBackbone,
    _models.ElectraBackbone,
    _models.RobertaBackbone,
)
_PLACED = (_layers.PositionEmbedding, _layers.TokenAndPositionEmbedding)


@keras.saving.register_keras_serializable("kmmft")
class TextPacking(keras.layers.Layer):
    """Puts texts into few rows: the longest first, each in the first that has room.

    How many rows come out depends on the texts, so that a graph which is compiled for
    one shape (TPUs, `jit_compile`) cannot hold this layer.

    Args:
        row_length: Tokens in a row; the length of the texts if that is larger.
        pad_token_id: Stands where no token does.

    Call arguments:
        token_ids: int `(batch, length)`.
        padding_mask: bool `(batch, length)`, True marks real tokens.

    Returns:
        dict of the rows' `token_ids` int32 `(rows, row_length)`; `positions` int32
        `(rows, row_length)`, the place of each token in its text; `attention_mask`
        bool `(rows, row_length, row_length)`, True where both are tokens of one text
        and the second is real; `padding_mask` int32 `(rows, row_length)`; and
        `homes` int32 `(batch, length)`: where each token went, counted through the
        rows, or -1.

    Example:
        >>> mask = np.arange(4) < [[3], [1], [4]]
        >>> ids = np.array([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 7, 8]])
        >>> rows = kmmft.encoders.TextPacking(row_length=4)(ids, mask)
        >>> rows["token_ids"].numpy()
        array([[5, 6, 7, 8],
               [1, 2, 3, 4]], dtype=int32)
        >>> rows["positions"].numpy()
        array([[0, 1, 2, 3],
               [0, 1, 2, 0]], dtype=int32)

    References:
        - [Krell et al., 2021](https://arxiv.org/abs/2107.02027), sec. 3 (packing) and
          4 (masks and positions).
    """

    def __init__(self, row_length: int, pad_token_id: int = 0, **kwargs):
        super().__init__(**kwargs)
        # Keras compiles for XLA by itself on one GPU, unless a layer says no.
        self.supports_jit = False
        if row_length < 1:
            raise ValueError(
                "`row_length` must be at least 1. Received: "
                f"row_length={row_length}. Twice the longest text is a good length."
            )
        self.row_length = row_length
        self.pad_token_id = pad_token_id

    def call(self, token_ids, padding_mask):
        batch, length = ops.shape(padding_mask)
        row_length = ops.maximum(self.row_length, length)
        place = ops.arange(length, dtype="int32")
        # Up to the last real token, should there be masked ones before it.
        lengths = ops.max(ops.where(padding_mask, place + 1, 0), 1, initial=0)
        starts, num_rows = _first_fit(lengths, row_length)
        homes = ops.where(place < lengths[:, None], starts[:, None] + place, -1)
        # One place more than there are takes all that is padding.
        size = num_rows * row_length
        goals = ops.reshape(ops.where(homes < 0, size, homes), (-1, 1))

        def pack(values):
            packed = ops.scatter(goals, ops.reshape(values, (-1,)), (size + 1,))
            return ops.reshape(packed[:size], (num_rows, row_length))

        numbers = ops.broadcast_to(ops.arange(1, batch + 1)[:, None], (batch, length))
        owner = pack(ops.cast(numbers, "int32"))
        is_real = pack(ops.cast(padding_mask, "int32"))
        ids = pack(ops.cast(token_ids, "int32"))
        same = (owner[:, :, None] == owner[:, None]) & (is_real[:, None] > 0)
        return {
            "token_ids": ops.where(owner > 0, ids, self.pad_token_id),
            "positions": pack(ops.broadcast_to(place, (batch, length))),
            "attention_mask": same,
            "padding_mask": is_real,
            "homes": homes,
        }

    def compute_output_spec(self, token_ids, padding_mask):
        # Each a tensor of its own: the graph knows them by identity.
        return {
            "token_ids": keras.KerasTensor((None, None), "int32"),
            "positions": keras.KerasTensor((None, None), "int32"),
            "attention_mask": keras.KerasTensor((None, None, None), "bool"),
            "padding_mask": keras.KerasTensor((None, None), "int32"),
            "homes": keras.KerasTensor(padding_mask.shape, "int32"),
        }

    def get_config(self) -> dict:
        own = {"row_length": self.row_length, "pad_token_id": self.pad_token_id}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kmmft")
class TextUnpacking(keras.layers.Layer):
    """Takes tokens out of the rows that `TextPacking` made.

    Call arguments:
        tokens: float `(rows, row_length, dim)`.
        homes: int32 `(batch, length)`, as `TextPacking` gives it.

    Returns:
        float `(batch, length, dim)`, zero where there was padding.
    """

    def call(self, tokens, homes):
        flat = ops.reshape(tokens, (-1, tokens.shape[-1]))
        found = ops.take(flat, ops.maximum(homes, 0), axis=0)
        return ops.where(homes[..., None] >= 0, found, ops.zeros_like(found))

    def compute_output_spec(self, tokens, homes):
        return keras.KerasTensor((*homes.shape, tokens.shape[-1]), tokens.dtype)


def packed_tokens(
    backbone: keras.Model,
    token_ids: keras.KerasTensor,
    padding_mask: keras.KerasTensor,
    row_length: int,
    pad_token_id: int,
) -> keras.KerasTensor:
    """Calls a text backbone on several texts a row.

    Args:
        backbone: A KerasHub `BertBackbone`, `RobertaBackbone`, `DistilBertBackbone`,
            `ElectraBackbone` or `AlbertBackbone`.
        token_ids: int `(batch, length)`.
        padding_mask: bool `(batch, length)`.
        row_length: Tokens in a row.
        pad_token_id: Stands where no token does.

    Returns:
        Tokens `(batch, length, dim)`, as the backbone gives them; zero at padding.

    Raises:
        ValueError: If texts cannot be packed for this backbone.
    """
    if not isinstance(backbone, WITH_PACKING):
        names = ", ".join(known.__name__ for known in WITH_PACKING)
        raise ValueError(
            f"Packing texts needs one of {names}. Received: a "
            f"{type(backbone).__name__}, which cannot be told which places of a row "
            "belong to one text. Leave `packed_length` out, or use bucket_by_length."
        )
    rows = TextPacking(row_length, pad_token_id, name="text_packing")(
        token_ids, padding_mask
    )
    homes = rows.pop("homes")
    if "segment_ids" in backbone.input:
        rows["segment_ids"] = ops.zeros_like(rows["token_ids"])
    tokens = _with_places(backbone)(rows)
    return TextUnpacking(name="text_unpacking")(tokens, homes)


def _with_places(backbone: keras.Model) -> keras.Model:
    """A twin, sharing layers and weights, that is told positions and masks."""
    outputs = backbone.output
    if isinstance(outputs, dict):
        outputs = outputs["sequence_output"]
    own = {
        "positions": keras.Input((None,), dtype="int32", name="positions"),
        "attention_mask": keras.Input(
            (None, None), dtype="bool", name="attention_mask"
        ),
    }
    inputs = {
        name: keras.Input(value.shape[1:], dtype=value.dtype, name=name)
        for name, value in {**backbone.input, **own}.items()
    }

    def call(layer, *args, **kwargs):
        if isinstance(layer, _layers.TransformerEncoder):
            kwargs["attention_mask"] = inputs["attention_mask"]
        elif isinstance(layer, _PLACED):
            kwargs["positions"] = inputs["positions"]
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        keras.Model({**backbone.input, **own}, outputs),
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=call,
    )


def _first_fit(lengths, row_length):
    """First fit decreasing.

    Returns:
        Where each text begins, counted through the rows, and the number of rows.
    """
    order = ops.argsort(-lengths)
    ranks = ops.argsort(order)
    count = ops.shape(lengths)[0]
    rows = ops.arange(count, dtype="int32")

    def put(step, room, starts):
        text = order[step]
        row = ops.cast(ops.argmax(room >= lengths[text]), "int32")
        start = (row + 1) * row_length - room[row]
        return (
            step + 1,
            ops.where(rows == row, room - lengths[text], room),
            ops.where(ranks == step, start, starts),
        )

    room, starts = ops.full_like(lengths, row_length), ops.zeros_like(lengths)
    _, room, starts = ops.while_loop(
        lambda step, *_: step < count, put, (ops.convert_to_tensor(0), room, starts)
    )
    num_rows = ops.sum(ops.cast(room < row_length, "int32"))
    return starts, ops.maximum(num_rows, 1)
