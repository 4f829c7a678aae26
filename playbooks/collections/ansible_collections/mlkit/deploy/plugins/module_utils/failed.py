"Why a stroke of a deployment went no further. It needs nothing of Ansible: a host that ends a deployment by itself has none."


class Failed(Exception):
    "The words are the cause, as whoever deploys reads it; `more` is what the module returns beside it."

    def __init__(self, cause, **more):
        super().__init__(cause)
        self.more = more
