"""The handler of this model: the code that the server calls.

To call a server that has loaded it: curl -T FILE http://127.0.0.1:8080/predictions/NAME. To send a
form field `data` instead: curl -F data=@FILE or curl -d data=TEXT.
"""


class Service:
    """Each worker of the server creates one instance.

    The server calls `initialize` once, and then `handle` for each batch of requests.
    """

    def initialize(self, context):
        """Loads the model.

        `model_dir` holds the files of this folder under the same relative paths.
        """
        self.folder = context.system_properties["model_dir"]
        # self.weights = load(os.path.join(self.folder, "weights.bin"))

    def handle(self, data, context):
        """Returns one answer for each request of the batch, in the same order."""
        return self.postprocess(self.inference(self.preprocess(data)))

    def preprocess(self, requests):
        """Extracts the input of each request: a form field `data`, or the whole body."""
        return [request.get("data", request.get("body")) for request in requests]

    def inference(self, inputs):
        """Runs the model. This one returns its input: put yours here."""
        return inputs

    def postprocess(self, outputs):
        """Turns results into answers: text, bytes, or anything that JSON can express."""
        return outputs
