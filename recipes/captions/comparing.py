"""How well a coca's vectors of images and texts find each other."""

import kmmft

from .settings import Config


def compare(
    config: Config, source: kmmft.data.RecordSource, model: kmmft.models.CoCa
) -> dict[str, float]:
    """Retrieval among the test split."""
    evaluator = kmmft.evaluation.RetrievalEvaluator.with_ks_that_fit(
        source, "test", max_bad_fraction=config.max_bad_fraction
    )
    encoded = evaluator.encode(model)
    own = kmmft.evaluation.own_caption_share(encoded)
    return {**evaluator.metrics(encoded), "own_caption": own}
