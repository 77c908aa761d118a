"""Dual encoders that others trained, and ours for others."""

import os

from kmmft.encoders import load_dual_checkpoint, load_dual_preset, save_dual_checkpoint


class PretrainedTowers:
    """Mixin for `DualEncoder`: CLIP and SigLIP, in and out."""

    @classmethod
    def from_preset(
        cls,
        handle: str,
        image_size: int | tuple[int, int] | None = None,
        sequence_length: int | None = None,
        **kwargs,
    ) -> "PretrainedTowers":
        """From a CLIP, MetaCLIP 2 or SigLIP preset of KerasHub.

        Args:
            handle: A preset name, `kaggle://...`, or a local preset directory.
            image_size: Another size than the preset's: position embeddings are resized.
            sequence_length: Tokens of a text; default: the preset's.
            **kwargs: Further arguments of the constructor.

        Raises:
            ValueError: If there is no such preset, or it is no dual encoder.
        """
        dual = load_dual_preset(handle, image_size, sequence_length)
        return cls._from_dual(dual, kwargs)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        image_size: int | tuple[int, int] | None = None,
        sequence_length: int | None = None,
        **kwargs,
    ) -> "PretrainedTowers":
        """From a CLIP or SigLIP of `transformers` or open_clip.

        Args:
            path: As in `kmmft.encoders.load_dual_checkpoint`: a directory, a
                `.safetensors` file, or `hf://user/name`.
            image_size: Another size than the checkpoint's: position embeddings are
                resized.
            sequence_length: Tokens of a text; default: the checkpoint's.
            **kwargs: Further arguments of the constructor.

        Raises:
            ValueError: If there is no such checkpoint, or it is of another kind.

        Example::

            model = kmmft.models.DualEncoder.from_checkpoint("clip-vit-base-patch32")
            model.compile(kmmft.training.adamw(1e-5, total_steps=1000))
        """
        dual = load_dual_checkpoint(path, image_size, sequence_length)
        return cls._from_dual(dual, kwargs)

    @classmethod
    def _from_dual(cls, dual, kwargs):
        options = {"logit_scale": dual.logit_scale, "logit_bias": dual.logit_bias}
        # SigLIP was trained without the limit, and may be beyond it.
        options["max_logit_scale"] = max(100.0, dual.logit_scale)
        encoders = {"image": dual.image_encoder, "text": dual.text_encoder}
        return cls(encoders, **{**options, **kwargs})

    def save_checkpoint(
        self, directory: str | os.PathLike, format: str = "transformers"
    ) -> None:
        """Writes the model for another library, with equal outputs.

        Args:
            directory: Where to write. Must not exist, or be empty.
            format: `"transformers"`, the only one.

        Raises:
            ValueError: If the model is no CLIP or SigLIP: towers of another kind, or
                projections of its own.
        """
        if self.projections or list(self.encoders) != ["image", "text"]:
            raise ValueError(
                "A checkpoint holds an image and a text encoder and no further "
                f"projections. Received: encoders {list(self.encoders)}, projections "
                f"{list(self.projections)}. Save a `.keras` file instead."
            )
        bias = self.logit_bias
        save_dual_checkpoint(
            directory,
            self.encoders["image"],
            self.encoders["text"],
            float(self.logit_scale),
            None if bias is None else float(bias),
            format,
        )
