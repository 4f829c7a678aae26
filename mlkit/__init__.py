"""From a notebook cell to a live prediction: what notebooks and scripts import. A name is loaded when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

HOME = {
    "Bundle": "model.bundle",
    "Column": "model.column",
    "MlkitError": "errors",
    "Output": "model.output",
    "Signature": "model.signature",
    "Store": "store",
    "class_figures": "validation.class_figures",
    "current_run": "runs.current",
    "encode": "model.features",
    "exploration": "data.exploration",
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
    "pictures": "validation.pictures",
    "plain_metrics": "validation.metrics",
    "promote": "registry",
    "quantile_figures": "validation.quantile_figures",
    "ranking_figures": "validation.ranking_figures",
    "read_run": "runs.record",
    "register": "registry",
    "run_notebook": "runs.execute",
    "show_rounds": "flavors.lightgbm_training",
    "split_by_time": "data.dataset",
}  # name → the module that has it, or is it

__all__ = [
    "Bundle",
    "Column",
    "MlkitError",
    "Output",
    "Signature",
    "Store",
    "class_figures",
    "current_run",
    "encode",
    "exploration",
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
    "pictures",
    "plain_metrics",
    "promote",
    "quantile_figures",
    "ranking_figures",
    "read_run",
    "register",
    "run_notebook",
    "show_rounds",
    "split_by_time",
]


if TYPE_CHECKING:  # what an editor and a type checker see
    from .data import exploration as exploration
    from .data.dataset import split_by_time as split_by_time
    from .errors import MlkitError as MlkitError
    from .flavors.lightgbm_training import show_rounds as show_rounds
    from .model.bundle import Bundle as Bundle
    from .model.bundle import make_bundle as make_bundle
    from .model.bundle import open_folder as open_folder
    from .model.column import Column as Column
    from .model.features import encode as encode
    from .model.features import fit_features as fit_features
    from .model.output import Output as Output
    from .model.signature import Signature as Signature
    from .model.signature import frame_columns as frame_columns
    from .model.signature import infer_signature as infer_signature
    from .registry import find_model as find_model
    from .registry import load_model as load_model
    from .registry import promote as promote
    from .registry import register as register
    from .runs.current import current_run as current_run
    from .runs.execute import run_notebook as run_notebook
    from .runs.record import list_runs as list_runs
    from .runs.record import read_run as read_run
    from .settings import find_project as find_project
    from .store import Store as Store
    from .validation import class_figures as class_figures
    from .validation import figures as figures
    from .validation import pictures as pictures
    from .validation import quantile_figures as quantile_figures
    from .validation import ranking_figures as ranking_figures
    from .validation.metrics import plain_metrics as plain_metrics


def __getattr__(name: str):
    if name not in HOME:
        raise AttributeError(f"module 'mlkit' has no attribute {name!r}")
    module = import_module(f"mlkit.{HOME[name]}")
    value = globals()[name] = vars(module).get(name, module)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOME])
