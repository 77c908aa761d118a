"""How much one request may ask for."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that protect a server and its other visitors.

    Attributes:
        request_megabytes: Largest request.
        rows: Most rows of one request.
        text_bytes: Longest value of an input that is no image; see `image_bytes`.
        image_bytes: Longest value of an input that holds images. How many pixels one
            may have is the exported model's to say.
        waiting_requests: Requests that wait at most; more are refused.
        body_seconds: Longest time that a request may take to arrive.
    """

    request_megabytes: float = 64.0
    rows: int = 256
    text_bytes: int = 100_000
    image_bytes: int = 32_000_000
    waiting_requests: int = 1000
    body_seconds: float = 30.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(
                    f"`{field.name}` must be positive. "
                    f"Received: {getattr(self, field.name)}."
                )

    @property
    def request_bytes(self) -> int:
        return int(self.request_megabytes * 2**20)
