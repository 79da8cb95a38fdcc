"""A package that needs one that nobody has."""

import edgenas_no_such_package
import optuna


class Broken(optuna.samplers.RandomSampler):
    """Never gets here."""

    package = edgenas_no_such_package
