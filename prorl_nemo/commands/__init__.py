"""One module per verb of `prorl`: `add_arguments(parser)` and `run(arguments) -> exit code`.

Only argparse is imported at the top of these modules, so that `prorl --help` is instant.
"""
