"""Gives back what it is sent: the smallest model there is."""


def handle(data, context):
    """Returns one answer for each request of the batch.

    The server calls it once with `data` being None when it loads the model.
    """
    if data is None:
        return None
    return [request.get("data", request.get("body")) for request in data]
