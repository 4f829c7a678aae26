"`python -m mlkit` is `mlkit`."

from mlkit.cli import main

main(prog_name="mlkit")
