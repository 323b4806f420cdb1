"""The page of common options that `--help` prints for the large commands. It must not wait for any import."""

from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    """Contents of the page of a command.

    Attributes:
        purpose: Sentence that says what the command does.
        examples: Typical calls, without the program's name.
        options: Pairs of an option, as it is typed, and its help.
        kinds: Options that take a class; `OPTION.help CLASS` lists the options of the class.
        given: Arguments that a call needs.
    """

    purpose: str
    examples: list[str]
    options: list[tuple[str, str]]
    kinds: list[str]
    given: str = "--config NAME"


_CONFIG = ("--config NAME", "Configuration: a file, or a name that `sgm-lightning configs` lists; later ones go over it.")
_RUN_DIR = ("--run_dir DIR", "Folder of the run; the same command goes on with what it holds.")
_PRINT = ("--print_config", "Print the whole configuration that results, and stop.")
_SCALE = [
    ("--trainer.devices N", "Number of GPUs or processes."),
    ("--trainer.accelerator KIND", "Where to compute: auto, cpu, gpu, mps."),
    ("--trainer.precision KIND", "Number format of the network: 32-true, bf16-mixed or 16-mixed."),
]
_FIT = [
    _CONFIG,
    _RUN_DIR,
    ("--data.root FOLDER", "Folder of pictures, where the configuration trains on one (`FolderData`)."),
    ("--data.batch_size N", "Number of pictures in a batch of each process."),
    ("--trainer.max_steps N", "Number of steps; a larger one extends a finished training."),
    ("--trainer.max_time TIME", "Time after which the training stops and can be resumed, as days:hours:minutes:seconds."),
    ("--model.warmup_steps N", "Number of steps until the full learning rate."),
    ("--writer.save_every N", "Number of steps between saved states."),
    *_SCALE,
    _PRINT,
]

PAGES = {
    "predict": Page(
        "Draws samples of a model into a run folder. Repeat the command to resume; several processes may share a run.",
        [
            "predict --config fashion_mnist --run_dir runs/first",
            "predict --config fashion_mnist --config best_of --run_dir runs/best --data.num_samples 32",
        ],
        [
            _CONFIG,
            _RUN_DIR,
            ("--data.num_samples N", "Number of samples; a larger number extends the run."),
            ("--data.seed N", "Seed of the run."),
            ("--data.labels L", "Classes to draw: auto, none, uniform, one class, or a list."),
            ("--model.backbone.path PATH", "Checkpoint of the model: a folder, a file or a hub id."),
            ("--model.spacing STEPS", "Number of steps of the chain, or a spacing such as 14,7."),
            ("--model.guidance CLASS", "Guidance of the steps, e.g. SelfGuidance; null for none."),
            ("--model.guidance.scale W", "Strength of the guidance, where the class has one."),
            ("--model.sampler CLASS", "Method that takes the steps, e.g. DDPM, DPMSolverPlusPlus or BestOf."),
            ("--model.baseline BOOL", "Whether to draw every sample without the method, too."),
            ("--writer.png BOOL", "Whether to write every sample to images/ as a PNG file, too."),
            ("--verify BOOL", "Whether to check every chunk of a finished run again."),
            *_SCALE,
            _PRINT,
        ],
        ["--model.backbone", "--model.sampler", "--model.guidance", "--data"],
    ),
    "fit": Page(
        "Trains or fine-tunes a diffusion model. Repeat the command to resume.",
        ["fit --config finetune_folder --data.root FOLDER --run_dir runs/finetuned"],
        [*_FIT[:2], ("--model.backbone.path PATH", "Checkpoint to start from: a folder, a file or a hub id."), *_FIT[2:]],
        ["--model.backbone", "--model.objective", "--model.optimizer", "--data"],
    ),
    "fit_classifier": Page(
        "Trains a classifier of noisy images, for guidance. Repeat the command to resume.",
        ["fit_classifier --config minority_classifier --run_dir runs/classifier"],
        _FIT,
        ["--model.classifier", "--model.optimizer", "--data"],
    ),
    "fit_reader": Page(
        "Trains a reader of the emoji world: from a picture to what it shows. Repeat the command to resume.",
        ["fit_reader --config emoji_reader --run_dir runs/reader"],
        [option for option in _FIT if option[0] != "--data.root FOLDER"],
        ["--model.optimizer", "--data"],
    ),
    "test": Page(
        "Evaluates finished images: rarity, realism and, under a model, scores and likelihood.",
        ["test --config fashion_mnist --data.images runs/first --output runs/first/test"],
        [
            _CONFIG,
            ("--data.images PATH", "Run folder, npz file or folder of images to evaluate."),
            ("--output DIR", "Folder for metrics.json and the figures."),
            ("--model.backbone.path PATH", "Checkpoint under which scores and likelihood are computed."),
            ("--model.nelbo BOOL", "Whether to bound the likelihood."),
            *_SCALE[:2],
            _PRINT,
        ],
        ["--model.backbone"],
    ),
    "score": Page(
        "Scores every picture of a data set by the model, and assigns each to a minority level. Repeat it to resume.",
        ["score --config fashion_mnist --output levels.safetensors"],
        [
            _CONFIG,
            ("--output FILE", "Safetensors file to write, which a training reads as classes."),
            ("--backbone.path PATH", "Checkpoint of the model: a folder, a file or a hub id."),
            ("--source CLASS", "Pictures to score, e.g. ImageFolder, NpzImages or RunImages."),
            ("--spacing STEPS", "Number of steps of the chain."),
            ("--num_levels N", "Number of levels; the last one is the rarest."),
            ("--batch_size N", "Number of pictures that are denoised at once."),
            ("--seed N", "Seed of the noise."),
            ("--device NAME", "Device to compute on: auto, cpu, cuda, mps."),
            _PRINT,
        ],
        ["--backbone", "--source", "--score"],
    ),
    "compare": Page(
        "Draws several methods on the same seeds and measures them alike: tables, a plot and a grid. Repeat it to resume.",
        [
            "compare --config fashion_mnist --output runs/compare",
            "compare --config fashion_mnist --output runs/look --num_samples 24",
        ],
        [
            _CONFIG,
            ("--output DIR", "Folder of the comparison; processes that share it share the work."),
            ("--num_samples N", "Number of samples of every setting."),
            ("--reference NAME", "Setting to which the paired differences of the others are taken."),
            ("--primary NAME", "The one primary endpoint, e.g. imagenet/avg_knn."),
            ("--realism NAME", "Value that the plot shows as realism, e.g. classifier/density."),
            ("--grid_images N", "Number of columns of the grid."),
            ("--timed_images N", "Number of images in a batch that is timed for every setting; 0 for no timing."),
            _PRINT,
        ],
        [],
    ),
    "estimate": Page(
        "Estimates the operations and hours of a run of `predict`. Nothing is drawn or written.",
        ["estimate --config fashion_mnist --num_samples 50000 --devices 8 --tflops 312"],
        [
            _CONFIG,
            ("--num_samples N", "Number of images to draw."),
            ("--devices N", "Number of devices that share the images."),
            ("--tflops X", "Peak rate of a device at the run's precision, in 10¹² operations per second."),
            ("--utilization X", "Share of the peak rate that is reached."),
            ("--model.backbone CLASS", "Model; NewNetwork has the cost without the weights."),
            ("--model.spacing STEPS", "Number of steps of the chain, or a spacing such as 14,7."),
            ("--model.guidance CLASS", "Guidance of the steps, e.g. SelfGuidance; null for none."),
            ("--model.sampler CLASS", "Method that takes the steps, e.g. DDPM, DPMSolverPlusPlus or BestOf."),
            _PRINT,
        ],
        ["--model.backbone", "--model.sampler", "--model.guidance"],
    ),
    "features": Page(
        "Saves the features of real images, with which samples are compared or which a guidance follows.",
        ["features --config class_means --output means.safetensors"],
        [
            _CONFIG,
            ("--output FILE", "Safetensors file to write."),
            ("--images CLASS", "Images whose features are saved, e.g. ImageFolder or NpzImages."),
            ("--extractor CLASS", "Network that maps an image to its features."),
            ("--class_means BOOL", "Whether to save the mean of every class instead of all features."),
            _PRINT,
        ],
        ["--images", "--extractor"],
    ),
    "convert": Page(
        "Writes a checkpoint in another layout: as a diffusers folder, or as a file of ADM.",
        ["convert --config fashion_mnist --output converted"],
        [
            _CONFIG,
            ("--output PATH", "Folder (diffusers) or .pt file (adm) to write."),
            ("--layout KIND", "Layout to write: diffusers or adm."),
            ("--backbone.path PATH", "Checkpoint to read."),
            ("--unconditional BOOL", "Whether to write the unconditional network of a model with label dropout."),
            _PRINT,
        ],
        ["--backbone"],
    ),
    "show": Page(
        "Shows the samples of a run that stand highest and lowest in a column of its scores.csv.",
        ["show runs/first --rarest 10", "show runs/first --rarest 5 --commonest 5 --by nelbo"],
        [
            ("--rarest N", "Number of samples to show with the highest values."),
            ("--commonest N", "Number of samples to show with the lowest values."),
            ("--by COLUMN", "Column of scores.csv to sort by."),
            ("--output FILE", "PNG file to write."),
        ],
        [],
        "RUN",
    ),
}


def page(command: str) -> str:
    """Return the page of a command."""
    found = PAGES[command]
    width = max(len(option) for option in [*dict(found.options), *(f"{kind}.help CLASS" for kind in found.kinds)]) + 2
    return "\n".join(
        [
            f"usage: sgm-lightning {command} {found.given} [OPTION VALUE ...]",
            "",
            found.purpose,
            "",
            *(f"  sgm-lightning {example}" for example in found.examples),
            "",
            *(f"  {option:<{width}}{text}" for option, text in found.options),
            "",
            "More:",
            f"  {'--help.all':<{width}}Every option, with its default.",
            *(f"  {f'{kind}.help CLASS':<{width}}Options of a class." for kind in found.kinds),
            "",
        ]
    )
