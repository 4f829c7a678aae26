"`python -m mlkit` is `mlkit`."

from mlkit.cli.main import main

main(prog_name="mlkit")
