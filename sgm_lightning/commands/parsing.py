"""The setup that all commands share: short class names, configurations by name, and settings of the parser."""

from __future__ import annotations

import logging
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import sgm_lightning.backbones
import sgm_lightning.classifiers
import sgm_lightning.features
import sgm_lightning.fit
import sgm_lightning.guidance
import sgm_lightning.images
import sgm_lightning.samplers
import sgm_lightning.scores  # noqa: F401  short class names in YAML come from what is imported
from sgm_lightning.commands.arguments import config_contents, config_files, with_config_files
from sgm_lightning.commands.malformed import malformed
from sgm_lightning.commands.refused import placed
from sgm_lightning.commands.renamed import refuse_renamed
from sgm_lightning.errors import SGMError, reason_of, told
from sgm_lightning.files.locate import looking_beside

# Lightning tells these at every start: what the machine has not, an advertisement, and what we say ourselves.
_IRRELEVANT_LINES = ("GPU available: False", "TPU available: False", "HPU available: False", "💡", "`Trainer.")

# Lightning warns of these in every run; our chunks are iterable, have a length, and carry their indices on purpose.
_IRRELEVANT_WARNINGS = (
    "Your `IterableDataset` has `__len__`",
    "Couldn't infer the batch indices",
    "LightningCLI.s args",
    ".*LeafSpec",
    "It is recommended to use `self.log",  # these values are synchronised already
    "The `srun` command",
    "You're resuming from a checkpoint that ended before",  # positions tell the training data where to go on
)


@contextmanager
def command_line(args: list[str]) -> Iterator[list[str]]:
    """Set up the context in which every command parses and runs.

    This sets the global state of the parser and of warnings, and lets files be looked for beside the configurations.

    Args:
        args: Arguments of a command, starting with its name.

    Yields:
        The arguments with paths in place of the names of configurations.

    Raises:
        SGMError: If a configuration does not exist, or a configuration or an argument uses an old name.
    """
    for start in _IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", start)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_relevant)
    set_parsing_settings(
        docstring_parse_attribute_docstrings=False,
        # A field that takes any value does not build classes, and no field names what runs programs (`os`, `subprocess`, …).
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=[],  # besides the parser's own
    )
    args = with_config_files(args)
    refuse_renamed(args, config_contents(args))
    typed = [*args, *(arg.partition("=")[2] for arg in args)]
    with looking_beside(config_files(args), typed):
        yield args


def _relevant(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_IRRELEVANT_LINES)


class CommandCLI(LightningCLI):
    """LightningCLI whose help names the command as users call it.

    Attributes:
        command: Name of the command; default that of the Trainer's method behind it.
    """

    command = ""

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        super().setup_parser(*args, **kwargs)
        self.parser.exit_on_error = False
        for method, parser in self._subcommand_parsers.items():
            parser.prog = f"sgm-lightning {self.command or method}"
            parser.exit_on_error = False

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self._given = list(args)
        with _in_a_sentence(self._subcommand_parsers[args[0]], [self.command or args[0], *args[1:]]):
            super().parse_arguments(parser, args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self.config_init[self.subcommand]["trainer"]
        if given["enable_progress_bar"] is False:
            self.trainer_defaults.pop("callbacks", None)  # Lightning refuses a bar that it did not make itself
        strategy = str(given["strategy"])
        if given["barebones"] or any(word in strategy for word in ("spawn", "fork", "notebook")):
            named = "trainer.barebones: true" if given["barebones"] else f"trainer.strategy: {strategy}"
            raise SGMError(
                f"Runs need callbacks, and processes that start by themselves, got {named}; leave it out, or set "
                "`trainer.strategy: ddp`."
            )
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            if told(error) is not None:
                raise
            reason = reason_of(error, 300)
            raise SGMError(
                f"Lightning does not take a value of `trainer` ({reason}); correct it, or leave it out for its default."
            ) from None

    def instantiate_classes(self) -> None:
        with self.placed():
            super().instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        with self.placed(making=False):
            super()._run_subcommand(subcommand)

    def placed(self, making: bool = True) -> AbstractContextManager[None]:
        """Add to errors where the values were given that cause them."""
        return placed(self.config[self.subcommand], self._given, making)

    def before_instantiate_classes(self) -> None:
        """Spare Lightning the hyperparameters, for which it would dump the whole configuration; our modules save none."""
        self.config_dump: dict[str, Any] = {}


@contextmanager
def _in_a_sentence(parser: ArgumentParser, args: list[str]) -> Iterator[None]:
    """Say in one sentence what the parser does not accept."""
    try:
        yield
    except ArgumentError as error:
        known = [option.lstrip("-") for action in parser._actions for option in action.option_strings]
        raise malformed(error, known, args, config_files(args)) from None


def call(function: Callable[..., None], args: list[str], positional: bool = False) -> None:
    """Call a function with arguments from the command line and from YAML.

    Args:
        function: Function to call; its signature gives the options, its docstring their help.
        args: Arguments of the command, its name first.
        positional: Whether the arguments without a default are given by place rather than by name.
    """
    with command_line(args) as args:
        given, values = _arguments(function, args, positional)
        with placed(given, args, making=False, function=function):
            function(**values)


def arguments(function: Callable[..., None], args: list[str], positional: bool = False) -> dict[str, Any]:
    """Return the arguments of a function by name, inside of `command_line`; the parameters are those of `call`."""
    return _arguments(function, args, positional)[1]


def _arguments(function: Callable[..., None], args: list[str], positional: bool) -> tuple[Namespace, dict[str, Any]]:
    """Return the configuration that the arguments give, and what is made of it."""
    parser = ArgumentParser(prog=f"sgm-lightning {args[0]}", exit_on_error=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_function_arguments(function, as_positional=positional, sub_configs=True)
    with _in_a_sentence(parser, args):
        given = parser.parse_args(args[1:])
    with placed(given, args):
        found = parser.instantiate(given).as_dict()
    found.pop("config", None)
    return given, found
