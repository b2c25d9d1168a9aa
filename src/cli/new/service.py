"""The handler of this model: what the server calls.

To ask a server that has loaded it: curl -T FILE http://127.0.0.1:8080/predictions/NAME, or for a
form field `data`: curl -F data=@FILE, curl -d data=TEXT.
"""


class Service:
    """Each worker of the server makes one of these.

    Its two entry points are `initialize`, which is called once, and `handle`, for each batch of
    requests after that.
    """

    def initialize(self, context):
        """Loads the model.

        Everything in this folder is in `model_dir`, below the same paths as here.
        """
        self.folder = context.system_properties["model_dir"]
        # self.weights = load(os.path.join(self.folder, "weights.bin"))

    def handle(self, data, context):
        """Returns one answer for each request of the batch, in the same order."""
        return self.postprocess(self.inference(self.preprocess(data)))

    def preprocess(self, requests):
        """Takes what was sent out of the requests: a form field `data`, or the whole body."""
        return [request.get("data", request.get("body")) for request in requests]

    def inference(self, inputs):
        """Runs the model. This one gives back what it is sent: put yours here."""
        return inputs

    def postprocess(self, outputs):
        """Makes answers of the results: text, bytes, or anything that JSON can express."""
        return outputs
