"""Records, images and batches.

Names load on first use: the tools that only need `kmmft.data.schema` do not wait for
TensorFlow.
"""

import importlib

_FILES = {
    "audio": ["decode_audio", "resample_audio"],
    "augment": ["ImageAugmentation"],
    "bad_records": ["BadRecord", "BadRecords"],
    "batch_preview": ["preview"],
    "captions": [
        "choose_caption",
        "choose_captions",
        "list_captions",
        "repeat_for_captions",
    ],
    "colored_shapes": ["write_colored_shapes"],
    "data_errors": ["clear_data_errors"],
    "dataset": ["build_dataset"],
    "drawn_cases": ["write_drawn_cases"],
    "epoch_steps": ["steps_per_epoch"],
    "dataset_mixture": ["DatasetMixture", "mix_datasets"],
    "diagnosis": ["Diagnosis", "diagnose"],
    "decoded_rows": ["decode_rows"],
    "examples": ["Examples"],
    "framing": ["read_frames"],
    "image_headers": ["image_pixels"],
    "images": ["decode_image", "decode_images"],
    "length_buckets": ["bucket_by_length", "trim_padding"],
    "moving_shapes": ["write_moving_shapes"],
    "parsing": ["parse_record"],
    "rand_augment": ["RandAugment"],
    "random_crop": ["decode_random_crop"],
    "reading": ["RecordSource", "Split", "check_splits", "open_source"],
    "record_reading": ["first_records", "read_records"],
    "task_mixture": ["mix_tasks", "task_batch_sizes"],
    "template_texts": ["TemplateTexts", "write_template_texts"],
    "text_augment": ["TextAugmentation"],
    "text_tables": ["BackTranslations", "Synonyms"],
    "tfrecord_files": ["count_records", "find_corrupt_record"],
    "tones": ["write_tones"],
    "unlabelled": ["add_unlabelled"],
    "video": ["sample_frames"],
    "vocabulary": ["Vocabulary"],
    "wav_headers": ["wav_fault"],
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = ["schema", *_FILE_OF]


def __getattr__(name: str) -> object:
    if name == "schema" or name in _FILES:
        return importlib.import_module(f"kmmft.data.{name}")
    if name in _FILE_OF:
        return getattr(importlib.import_module(f"kmmft.data.{_FILE_OF[name]}"), name)
    raise AttributeError(f"module 'kmmft.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
