"""What the contract costs: mlkit's own worker, but one row is only decoded, asked and answered.

No check beyond the types, no id, no digest, no metrics, no prediction log. Batches go the usual way.
"""

from math import nan

import msgspec

from mlkit.serve.asgi import Application
from mlkit.serve.options import Options
from mlkit.serve.service import JSON_HEADERS, Reply


class Bare(Application):
    def __init__(self, options):
        super().__init__(options)
        bundle = self.service.ready().bundle
        kinds = [str if feature.levels else float for feature in bundle.features]
        row = msgspec.defstruct(
            "Row", [(f.name, kind) for f, kind in zip(bundle.features, kinds, strict=True)]
        )
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Body", [("rows", list[row])])).decode
        self._encode = msgspec.json.Encoder().encode
        self._codes = [
            (at, {level: float(code) for code, level in enumerate(feature.levels)})
            for at, feature in enumerate(bundle.features)
            if feature.levels
        ]
        self._ask = bundle.model.row_asker()

    def predict(self, head, body):
        rows = self._decode(body).rows
        if len(rows) > 1:
            return super().predict(head, body)
        values = list(msgspec.structs.astuple(rows[0]))
        for at, codes in self._codes:
            values[at] = codes.get(values[at], nan)
        return Reply(200, JSON_HEADERS, self._encode({"predictions": [self._ask(values)]}))


def application():
    return Bare(Options.from_environment())
