"""What is wrong with a request, told to who sent it."""


class RequestError(Exception):
    """A request that is refused.

    Args:
        message: What the rule is and what was received.
        status: HTTP status: 400 for a wrong request, 404 for what is not there, 413
            for too much, 503 when there are too many requests.
    """

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.message = message
        self.status = status
