"""Reading of a diffusers scheduler's configuration: the process that a network was trained on, or a refusal by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sgm_lightning.diffusion import Prediction, Variance, make_betas, with_zero_terminal_snr
from sgm_lightning.diffusion.schedule import LONGEST, is_list_of_betas
from sgm_lightning.errors import SGMError
from sgm_lightning.files.values import is_number, is_whole, one_line, shown

SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
    "laplace": "laplace",
}
_VARIANCES: dict[str | None, Variance] = {
    None: "fixed_small",  # samplers that use no variance save null
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}
_PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "sample", "v_prediction")

# Samplers of discrete variance-preserving chains. What they add to DDPM's chain concerns their own steps alone.
_CHAINS = {
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler"),
    *("PNDMScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler", "RePaintScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DPMSolverMultistepInverseScheduler"),
    *("DEISMultistepScheduler", "UniPCMultistepScheduler", "SASolverScheduler"),
}
# Keys that say which steps the scheduler itself would take, and how; our samplers take their own.
_OF_THE_STEPS = {
    *("timestep_spacing", "steps_offset", "clip_sample"),
    *("dynamic_thresholding_ratio", "sample_max_value", "set_alpha_to_one", "set_alpha_to_zero", "skip_prk_steps"),
    *("solver_order", "solver_type", "solver_p", "algorithm_type", "lower_order_final", "euler_at_final", "eta"),
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "final_sigmas_type"),
    *("lambda_min_clipped", "flow_shift", "time_shift_type", "predict_x0", "disable_corrector"),
    *("predictor_order", "corrector_order", "tau_func", "use_legacy_tau"),
}
# Keys that change the process or the model's output, and the values that leave them as they are.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "thresholding": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "snr_shift_scale": (1, None),
    "clip_sample_range": (1, None),
    "shift_terminal": (None,),
    "sigma_min": (None,),
    "sigma_max": (None,),
    "timestep_type": ("discrete", None),
    "interpolation_type": ("linear", None),
}


@dataclass(frozen=True)
class Chain:
    """The process of a network.

    Attributes:
        betas: Betas of the training chain, (T,) float64.
        prediction: Quantity that the network predicts.
        variance: Reverse variance, as the network or its training sets it.
        schedule: Name of the noise schedule, `explicit` if it has none.
    """

    betas: Tensor
    prediction: Prediction
    variance: Variance
    schedule: str


def read_scheduler(config: Mapping[str, Any], source: str) -> Chain:
    """Return the process that a scheduler's configuration describes.

    Args:
        config: Content of `scheduler_config.json`.
        source: Name of the checkpoint, for errors.

    Raises:
        SGMError: If the scheduler is of another kind of process, a key is unknown, or a value is out of its range.
    """
    name = config.get("_class_name", "DDPMScheduler")
    if not isinstance(name, str) or name not in _CHAINS:
        named = one_line(name) if isinstance(name, str) else shown(name)
        raise SGMError(
            f"The scheduler of {source} is a {named}, whose process is none of the discrete variance-preserving chains that "
            "can be drawn from (DDPMScheduler, DDIMScheduler and the like); give a checkpoint that was trained on one."
        )
    _check_keys(config, source)
    prediction = config.get("prediction_type", "epsilon")
    variance = config.get("variance_type", "fixed_small")
    if prediction not in _PREDICTIONS:
        raise SGMError(f"prediction_type of {source} must be one of {', '.join(_PREDICTIONS)}, got {shown(prediction)}.")
    if not isinstance(variance, str | None) or variance not in _VARIANCES:
        known = ", ".join(str(key) for key in _VARIANCES if key)
        raise SGMError(f"variance_type of {source} must be one of {known}, got {shown(variance)}.")
    betas, schedule = _betas(config, source)
    if config.get("rescale_betas_zero_snr"):
        if prediction == "epsilon":
            raise SGMError(
                f"{source} predicts noise on a chain of zero terminal SNR (rescale_betas_zero_snr), where noise says "
                "nothing of the image; correct prediction_type, or set rescale_betas_zero_snr to false."
            )
        betas, schedule = with_zero_terminal_snr(betas), "explicit"
    return Chain(betas, prediction, _VARIANCES[variance], schedule)


def _check_keys(config: Mapping[str, Any], source: str) -> None:
    used = {
        *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
        *("variance_type", "prediction_type", "rescale_betas_zero_snr"),
    }
    for key, value in config.items():
        if key in _NEUTRAL:
            if not any(value is neutral or (neutral is not None and value == neutral) for neutral in _NEUTRAL[key]):
                neutral = _NEUTRAL[key][0]
                raise SGMError(
                    f"{key} of {source}'s scheduler changes what is drawn and is not supported: it must be {neutral}, got "
                    f"{shown(value)}; give a scheduler without it by `init_args.scheduler` if it is not meant."
                )
        elif key not in used | _OF_THE_STEPS and not key.startswith("_"):
            raise SGMError(
                f"The key {one_line(key)} of {source}'s scheduler is unknown, so that nobody can say whether it changes the "
                "process; remove it, or give a scheduler without it by `init_args.scheduler`."
            )


def _betas(config: Mapping[str, Any], source: str) -> tuple[Tensor, str]:
    explicit, schedule = config.get("trained_betas"), config.get("beta_schedule", "linear")
    steps = config.get("num_train_timesteps", 1000)
    if not is_whole(steps, LONGEST):
        raise SGMError(f"num_train_timesteps of {source} must be a whole number from 1 to {LONGEST}, got {shown(steps)}.")
    if explicit is not None:
        if not is_list_of_betas(explicit):
            raise SGMError(
                f"trained_betas of {source} must be a list of numbers in (0, 1], got {shown(explicit)}; correct them."
            )
        if len(explicit) != steps and "num_train_timesteps" in config:
            raise SGMError(
                f"trained_betas of {source} must be num_train_timesteps = {steps} numbers, got {len(explicit)}; correct "
                "either."
            )
        return make_betas(explicit), "explicit"
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise SGMError(
            f"beta_schedule of {source} must be one of {', '.join(SCHEDULES)}, or trained_betas, got {shown(schedule)}."
        )
    ends = (config.get("beta_start", 1e-4), config.get("beta_end", 0.02))
    for key, end in zip(("beta_start", "beta_end"), ends, strict=True):
        if not is_number(end) or not 0 < end < 1:
            raise SGMError(f"{key} of {source} must be a number between 0 and 1, got {shown(end)}.")
    return make_betas(SCHEDULES[schedule], steps, *ends), SCHEDULES[schedule]
