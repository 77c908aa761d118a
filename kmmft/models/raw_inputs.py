"""From raw bytes and strings to a model's inputs."""

import functools
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.encoders import ImageEncoder
from kmmft.models.raw_files import decode_files, is_present, reads_files
from kmmft.models.raw_rows import in_batches
from kmmft.models.served_rows import ServedFunction, ServedRows


def named_inputs(modality: str, encoder: keras.Model, values) -> dict:
    """An encoder's inputs under their names in the batch.

    An image encoder's are under its modality, and so are a video's and an audio
    encoder's, with the mask as `<modality>_mask`. A text encoder's are `token_ids` and
    `padding_mask`, with the modality before them unless that is `text`.
    """
    if isinstance(encoder, ImageEncoder):
        return {modality: values}
    own = getattr(encoder, "input_name", None)
    if own is not None:
        return {key.replace(own, modality, 1): value for key, value in values.items()}
    prefix = "" if modality == "text" else f"{modality}_"
    return {f"{prefix}{key}": value for key, value in values.items()}


def select_inputs(modality: str, encoder: keras.Model, batch: Mapping):
    """Undoes `named_inputs`."""
    if isinstance(encoder, ImageEncoder):
        return batch[modality]
    names = {key: key for key in encoder.input}
    return {
        key: batch[name] for name, key in named_inputs(modality, encoder, names).items()
    }


def batch_inputs(encoders: Mapping[str, keras.Model]) -> dict[str, keras.KerasTensor]:
    """Symbolic inputs of a functional model, under their names in the batch.

    Args:
        encoders: Encoders by modality.

    Returns:
        `keras.Input`s by name.
    """
    return {
        key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        for modality, encoder in encoders.items()
        for key, tensor in named_inputs(modality, encoder, encoder.input).items()
    }


class RawInputs:
    """Mixin for models that own encoders: turns raw records into their inputs.

    The model has `encoders`, by modality, and `missing_modalities`, whether an
    example may lack some of them.
    """

    def preprocess(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Turns a batch of raw bytes and strings into the model's inputs.

        Pure TensorFlow: works in `tf.data` and in an exported graph.

        Args:
            raw: By modality, string tensor `(batch,)` of encoded images or sounds, or
                of texts; `(batch, count)` of videos' frames, where the empty string
                fills up. What is decoded already passes as it is. With
                `missing_modalities`, the empty string stands for an input that is
                not there, unless `<modality>_present` says otherwise. A table's
                columns come by their own names, numbers and strings `(batch,)`, or
                what its encoder made of them by its modality.

        Returns:
            dict of tensors, the inputs of the model.
        """
        self._check_raw(raw)
        inputs = {}
        for modality, encoder in self.encoders.items():
            if modality in raw and hasattr(encoder, "columns"):
                inputs |= named_inputs(modality, encoder, raw[modality])
            else:
                own = self.raw_of(modality, raw)
                inputs |= self.preprocess_modality(modality, own)
            if self.missing_modalities:
                key = f"{modality}_present"
                inputs[key] = raw[key] if key in raw else self.is_present(modality, raw)
        return inputs

    def is_present(self, modality: str, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Which raw examples have this modality, bool `(batch,)`."""
        encoder = self.encoders[modality]
        if hasattr(encoder, "columns"):
            return encoder.has_value(raw)
        here = is_present(raw[modality])
        parts = getattr(encoder, "raw_rank", 0)
        if raw[modality].dtype == tf.string and parts:
            return tf.reduce_any(here, axis=-1)
        return here

    def raw_of(self, modality: str, raw: Mapping[str, tf.Tensor]):
        """What `preprocess_modality` takes of a batch of raw inputs."""
        columns = getattr(self.encoders[modality], "columns", None)
        return {name: raw[name] for name in columns} if columns else raw[modality]

    def select(self, modality: str, inputs: Mapping):
        """The inputs of one encoder out of a batch."""
        return select_inputs(modality, self.encoders[modality], inputs)

    def input_names_of(self, modality: str) -> list[str]:
        """Names of one encoder's inputs in a batch."""
        encoder = self.encoders[modality]
        return list(named_inputs(modality, encoder, encoder.input))

    def preprocess_modality(
        self, modality: str, raw: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Turns raw bytes or strings of one modality into its inputs.

        Args:
            modality: Its name.
            raw: As in `preprocess`; a table's columns in a dict.

        Returns:
            dict of tensors, some of the inputs of the model.
        """
        encoder = self.encoders[modality]
        if hasattr(encoder, "columns"):
            return named_inputs(modality, encoder, encoder.preprocess(raw))
        if isinstance(raw, Mapping):
            return named_inputs(modality, encoder, raw)
        if raw.dtype == tf.string and reads_files(encoder):
            raw = decode_files(encoder, raw, self.missing_modalities)
        elif not isinstance(encoder, ImageEncoder):
            raw = encoder.preprocess(raw)
        return named_inputs(modality, encoder, raw)

    def decode_record(self, record: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Decodes a record's images, videos and sounds: a `preprocess` for datasets.

        Args:
            record: Features of one record. Images are named as their encoders.

        Returns:
            The record with float32 images, without an `image` that no encoder reads.
            Videos and sounds become dicts, with their mask. With `missing_modalities`,
            also with `<modality>_present` for each of them.
        """
        decoded = {
            name: feature
            for name, feature in record.items()
            if name in self.encoders or name != "image"
        }
        for modality, encoder in self.encoders.items():
            if reads_files(encoder):
                raw = record[modality]
                decoded[modality] = decode_files(encoder, raw, self.missing_modalities)
                if self.missing_modalities:
                    decoded[f"{modality}_present"] = self.is_present(modality, record)
        return decoded

    def prepare_batch(
        self, batch: Mapping[str, tf.Tensor], keep_records: bool = False
    ) -> tuple | dict[str, tf.Tensor]:
        """Makes what `fit` takes: a `batch_preprocess` for `build_dataset`.

        Args:
            batch: Batch of decoded records, with `label`. With `missing_modalities`,
                may also hold `<modality>_present`.
            keep_records: Whether to return the records beside the model's inputs, in
                one dict, as `kmmft.evaluation.predict_records` takes them.

        Returns:
            `(inputs, label)`, or a dict.
        """
        names = [name for name in self._raw_names() if name in batch]
        inputs = self.preprocess({name: batch[name] for name in names})
        return {**batch, **inputs} if keep_records else (inputs, batch["label"])

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        Args:
            **options: `strict` and `max_pixels`, as for `ServedRows`; some models
                take more.

        Returns:
            dict of functions of raw inputs.
        """
        rows = ServedRows(self, **options)
        return {"serving_default": rows(self.serve, self.serving_inputs())}

    def file_modalities(self) -> list[str]:
        """Names of those that are images, videos or sounds."""
        return [name for name, encoder in self.encoders.items() if reads_files(encoder)]

    def file_decoder(self, modality: str) -> Callable:
        """A function from one raw image, video or sound to what its encoder takes."""
        encoder, may_miss = self.encoders[modality], self.missing_modalities
        return functools.partial(decode_files, encoder, may_miss=may_miss)

    def serving_inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the raw inputs of `serve`, for the export."""
        return {
            name: spec
            for modality in self.encoders
            for name, spec in self.raw_specs(modality).items()
        }

    def raw_specs(self, modality: str) -> dict[str, tf.TensorSpec]:
        """Specs of the raw inputs of one modality, by name: a table has several."""
        encoder = self.encoders[modality]
        rank = 1 + getattr(encoder, "raw_rank", 0)
        columns = getattr(encoder, "columns", {modality: tf.string})
        return {
            name: tf.TensorSpec([None] * rank, dtype, name=name)
            for name, dtype in columns.items()
        }

    def raw_columns(self, records: Sequence[Mapping]) -> dict[str, list]:
        """Raw inputs of some records, as exports and `classify` take them.

        Args:
            records: Dicts of a record's features, such as those of
                `kmmft.data.first_records`.

        Returns:
            By modality (of a table, by column), a list with one value a record.
        """
        names = self._columns()
        return {name: [record[name] for record in records] for name in names}

    def _columns(self) -> list[str]:
        """Names of the raw inputs; what else a signature takes is none, as a seed."""
        return [name for key in self.encoders for name in self.raw_specs(key)]

    def _raw_names(self) -> list[str]:
        names = self._columns()
        if self.missing_modalities:
            names += [f"{modality}_present" for modality in self.encoders]
        return names

    def _in_batches(
        self,
        run: Callable,
        raw: Mapping[str, Sequence],
        batch_size: int,
        prepare: Callable | None = None,
    ) -> list:
        """What `run` makes of each batch of raw inputs: see `in_batches`."""
        self._check_raw(raw)
        decoders = {name: self.file_decoder(name) for name in self.file_modalities()}
        return in_batches(run, raw, batch_size, decoders, prepare)

    def _check_raw(self, raw: Mapping) -> None:
        names = self._columns()
        # A table's row, unless it was prepared before.
        prepared = [key for key in self.encoders if key in raw and key not in names]
        ready = {name for key in prepared for name in self.raw_specs(key)}
        given = {*raw} - {*prepared} | ready
        if ready & {*raw} or not set(names) <= given <= set(self._raw_names()):
            raise ValueError(
                f"Raw inputs must be given for the modalities {names}. "
                f"Received: {list(raw)}."
            )
