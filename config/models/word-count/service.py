"""Counts the words of a small vocabulary in a text."""

import os
import re


class WordCount:
    """A service class: the server makes one, initialises it once and then calls `handle`."""

    def __init__(self):
        self.vocabulary = []

    def initialize(self, context):
        """Reads the vocabulary from the folder that the archive was extracted to."""
        folder = context.system_properties["model_dir"]
        with open(os.path.join(folder, "vocabulary.txt"), encoding="utf-8") as lines:
            self.vocabulary = [line.strip() for line in lines if line.strip()]

    def handle(self, data, context):
        """Returns `{word: count}` for each request of the batch."""
        return [self.count(request.get("data") or request.get("body")) for request in data]

    def count(self, text):
        if isinstance(text, (bytes, bytearray)):
            text = text.decode("utf-8", "replace")
        words = re.findall(r"\w+", str(text or "").lower())
        return {word: words.count(word) for word in self.vocabulary if word in words}
