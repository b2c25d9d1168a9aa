"""Scores English sentences by the words in them."""

import json
import os
import re

LEXICON = {}


def handle(data, context):
    """Returns `{label, score}` for each request of the batch."""
    if not LEXICON:
        load(context)
    if data is None:
        return None
    return [score(request.get("data") or request.get("body")) for request in data]


def load(context):
    folder = context.system_properties["model_dir"]
    with open(os.path.join(folder, "lexicon.json"), encoding="utf-8") as file:
        LEXICON.update(json.load(file))


def score(text):
    if isinstance(text, (bytes, bytearray)):
        text = text.decode("utf-8", "replace")
    words = re.findall(r"\w+", str(text or "").lower())
    total = sum(LEXICON.get(word, 0) for word in words)
    label = "positive" if total > 0 else "negative" if total < 0 else "neutral"
    return {"label": label, "score": total}
