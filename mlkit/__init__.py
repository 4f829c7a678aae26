"""From a notebook cell to a live prediction: what notebooks and scripts import. A name is loaded when it is first asked for."""

from importlib import import_module

__version__ = "0.1.0"

HOME = {
    "Bundle": "model.bundle",
    "Column": "model.column",
    "MlkitError": "errors",
    "Output": "model.signature",
    "Signature": "model.signature",
    "Store": "store",
    "current_run": "runs.current",
    "encode": "model.features",
    "figures": "validation.figures",
    "find_model": "registry",
    "find_project": "settings",
    "fit_features": "model.features",
    "frame_columns": "model.signature",
    "infer_signature": "model.signature",
    "list_runs": "runs.record",
    "load_model": "registry",
    "make_bundle": "model.bundle",
    "open_folder": "model.bundle",
    "plain_metrics": "validation.metrics",
    "promote": "registry",
    "read_run": "runs.record",
    "register": "registry",
    "run_notebook": "runs.execute",
    "split_by_time": "data.dataset",
}  # name → the module that has it, or is it

__all__ = [
    "Bundle",
    "Column",
    "MlkitError",
    "Output",
    "Signature",
    "Store",
    "current_run",
    "encode",
    "figures",
    "find_model",
    "find_project",
    "fit_features",
    "frame_columns",
    "infer_signature",
    "list_runs",
    "load_model",
    "make_bundle",
    "open_folder",
    "plain_metrics",
    "promote",
    "read_run",
    "register",
    "run_notebook",
    "split_by_time",
]


def __getattr__(name: str):
    if name not in HOME:
        raise AttributeError(f"module 'mlkit' has no attribute {name!r}")
    module = import_module(f"mlkit.{HOME[name]}")
    value = globals()[name] = vars(module).get(name, module)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOME])
