"""What torch does not ship has the defaults of its authors, or of the code that everybody uses.

Written from the papers and the reference codes, not read from the components: a default that is
changed by mistake changes no formula, and nothing else would notice.
"""

from typing import Any

import pytest

from lossbench.registry import KINDS

ACTIVATIONS: dict[str, dict[str, Any]] = {
    "dynamic_tanh": {"init": 0.5},
    "e_swish": {"beta": 1.5},
    "flatten_t_swish": {"bottom": -0.2},
    "gumbel_softmax": {"tau": 1.0, "hard": False},
    "isrlu": {"alpha": 1.0},
    "isru": {"alpha": 1.0},
    "learned_swish": {"init": 1.0},
    "maxout": {"k": 2},
    "nl_relu": {"beta": 1.0},
    "penalized_tanh": {"alpha": 0.25},
    "sine": {"omega": 1.0},  # a plain sine; SIREN takes 30 in its first layer
    "smelu": {"beta": 1.0},
    "smu": {"alpha": 0.25, "init": 1e6},
    "snake": {"alpha": 1.0},
    "squareplus": {"b": 4.0},
    "swish": {"beta": 1.0},
    "tempered_softmax": {"num_iters": 5},
    "thresholded_relu": {"theta": 1.0},
}

REGRESSION: dict[str, dict[str, Any]] = {
    "adaptive_wing": {"w": 14.0, "eps": 1.0, "theta": 0.5, "alpha": 2.1},
    "asl1": {"mu": 0.02},
    "balanced_l1": {"alpha": 0.5, "gamma": 1.5, "beta": 1.0},
    "balanced_mse": {"sigma": 1.0},
    "barron_adaptive": {"alpha": 1.0, "c": 1.0},
    "berhu": {"threshold": 0.2},
    "cauchy": {"c": 1.0},
    "charbonnier": {"eps": 1e-3},
    "elbo_gaussian_kl": {"beta": 1.0},
    "epsilon_insensitive": {"eps": 0.1},
    "expectile": {"q": 0.5},
    "geman_mcclure": {"c": 1.0},
    "ghm_r": {"mu": 0.02, "bins": 10, "momentum": 0.0},
    "mape": {"eps": 1e-7},
    "msle": {"eps": 1e-7},
    "pseudo_huber": {"delta": 1.0},
    "quantile": {"quantile": 0.5},
    "quantile_huber": {"k": 1.0},
    "rmse": {"eps": 1e-8},
    "scale_invariant_log": {"lam": 0.5},
    "smape": {"eps": 1e-8},
    "student_t_nll": {"df": 3.0, "scale": 1.0},
    "tukey_biweight": {"c": 4.685},
    "tweedie": {"power": 1.5},
    "welsch": {"c": 1.0},
    "wing": {"w": 10.0, "eps": 2.0},
}

CLASSES: dict[str, dict[str, Any]] = {
    "asymmetric": {"gamma_pos": 1.0, "gamma_neg": 4.0, "clip": 0.05, "eps": 1e-8},
    "balanced_cross_entropy": {"alpha": 0.25},
    "bi_tempered": {"num_iters": 5, "label_smoothing": 0.0},
    "categorical_hinge": {"margin": 1.0},
    "class_balanced": {"beta": 0.9999},
    "confidence_penalty": {"beta": 0.1},
    "distillation_kl": {"temperature": 4.0},
    "distribution_focal": {"reg_max": 16},
    "emd2": {"r": 2},
    "focal": {"alpha": 0.25, "gamma": 2.0},
    "focal_cosine": {"alpha": 1.0, "gamma": 2.0, "focal_weight": 0.1},
    "gaussian_focal": {"alpha": 2.0, "beta": 4.0},
    "generalized_cross_entropy": {"q": 0.7},
    "ghm_c": {"bins": 10, "momentum": 0.0},
    "hinge": {"margin": 1.0},
    "jsd_cross_entropy": {"num_splits": 3, "alpha": 12.0, "label_smoothing": 0.1},
    "label_smoothing_cross_entropy": {"label_smoothing": 0.1},
    "linear_cross_entropy": {"label_smoothing": 0.0},
    "ldam": {"max_m": 0.5, "s": 30.0},
    "logit_adjusted": {"tau": 1.0},
    "multiclass_hinge": {"margin": 1.0, "power": 1},
    "normalized_cross_entropy": {"alpha": 1.0, "beta": 1.0},
    "poly1_cross_entropy": {"epsilon": 1.0},
    "poly1_focal": {"gamma": 2.0, "alpha": 0.25, "epsilon": 1.0},
    "quality_focal": {"beta": 2.0},
    "seesaw": {"p": 0.8, "q": 2.0, "eps": 1e-2},
    "softmax_focal": {"alpha": None, "gamma": 2.0, "label_smoothing": 0.0},
    "squared_hinge": {"margin": 1.0},
    "symmetric_cross_entropy": {"alpha": 0.1, "beta": 1.0, "log_zero": -4.0},
    "taylor_cross_entropy": {"t": 2},
    "topk_cross_entropy": {"ratio": 0.7},
    "varifocal": {"alpha": 0.75, "gamma": 2.0},
}

MARGINS: dict[str, dict[str, Any]] = {
    "a_softmax": {"margin": 4, "scale": 1.0},
    "adaface": {"margin": 0.4, "h": 0.333, "scale": 64.0},
    "arcface": {"margin": 0.5, "scale": 64.0},
    "cosface": {"margin": 0.35, "scale": 64.0},
    "curricularface": {"margin": 0.5, "scale": 64.0, "momentum": 0.99},
    "l2_softmax": {"alpha": 16.0},
    "l_softmax": {"margin": 4},
    "magface": {"margins": (0.45, 0.8), "scale": 64.0},
    "normface": {"scale": 20.0},
    "subcenter_arcface": {"centers": 3, "margin": 0.5, "scale": 64.0},
    "temperature_softmax": {"temperature": 1.0},
}

IMAGES: dict[str, dict[str, Any]] = {
    "alpha_iou": {"alpha": 3.0},
    "bounded_iou": {"beta": 0.2, "eps": 1e-3},
    "cl_dice": {"iterations": 3, "smooth": 1.0},
    "combo": {"lambda_dice": 1.0, "lambda_ce": 1.0},
    "dice": {"squared": False, "smooth_nr": 1e-5, "smooth_dr": 1e-5},
    "focal_eiou": {"gamma": 0.5, "normalise": False},
    "focal_frequency": {"alpha": 1.0},
    "focal_tversky": {"gamma": 4 / 3, "alpha": 0.3, "beta": 0.7},
    "generalized_dice": {"weight_type": "square"},
    "gradient_difference": {"alpha": 1.0},
    "hausdorff_dt": {"alpha": 2.0},
    "iou": {"form": "linear", "eps": 1e-7},
    "jaccard": {"smooth_nr": 1e-5, "smooth_dr": 1e-5},
    "log_cosh_dice": {"smooth_nr": 1e-5, "smooth_dr": 1e-5},
    "lovasz_hinge": {"per_image": True},
    "lovasz_softmax": {"classes": "present", "per_image": False},
    "ms_ssim": {"window_size": 11, "sigma": 1.5, "k1": 0.01, "k2": 0.03},
    "nwd": {"constant": 12.8},
    "psnr": {"max_val": 1.0},
    "siou": {"theta": 4.0},
    "soft_f1": {"beta": 1.0},
    "ssim": {"window_size": 11, "sigma": 1.5, "max_val": 1.0, "k1": 0.01, "k2": 0.03},
    "tversky": {"alpha": 0.5, "beta": 0.5},
    "unified_focal": {"delta": 0.6, "gamma": 0.5, "weight": 0.5},
    "wiou": {
        "version": "v3", "gamma": 0.5, "alpha": 1.9, "delta": 3.0,
        "momentum": 1 - 0.5 ** (1 / 7000),
    },
}  # fmt: skip

SAMPLES: dict[str, dict[str, Any]] = {
    "align_uniform": {"alpha": 2.0, "t": 2.0},
    "angular": {"alpha": 40.0},
    "barlow_twins": {"lambd": 5e-3, "unbiased": False},
    "began": {"gamma": 0.5, "lambda_k": 1e-3},
    "circle": {"gamma": 80.0, "margin": 0.4},
    "clip": {"temperature": 0.07, "max_scale": 100.0},
    "contrastive": {"margin": 1.0},
    "cycle_consistency": {"weight": 1.0},  # TF-GAN; the paper's factor of 10 is the user's
    "decoupled_contrastive": {"temperature": 0.1},
    "dino": {"student_temperature": 0.1, "teacher_temperature": 0.04, "momentum": 0.9},
    "dragan_penalty": {"lam": 10.0},
    "ebgan": {"margin": 10.0},
    "gradient_penalty": {"lam": 10.0, "target": 1.0, "one_sided": False, "eps": 1e-10},
    "identity": {"weight": 1.0},
    "info_nce": {"temperature": 0.07},
    "least_squares_gan": {"a": 0.0, "b": 1.0, "c": 1.0},
    "lifted_structure": {"margin": 1.0},
    "loss_sensitive_gan": {"lam": 1.0, "p": 1},
    "margin": {"margin": 0.2, "beta": 1.2},
    "minimax_gan": {"label_smoothing": 0.0},
    "non_saturating_gan": {"label_smoothing": 0.0},
    "multi_similarity": {"alpha": 2.0, "beta": 50.0, "base": 0.5},
    "npairs": {"l2_reg": 0.0},
    "npairs_multilabel": {"l2_reg": 0.0},
    "nt_xent": {"temperature": 0.5},
    "nt_xent_labels": {"temperature": 0.07},
    "proxy_anchor": {"alpha": 32.0, "margin": 0.1},
    "proxy_nca": {"scale": 32.0},
    "r1_penalty": {"gamma": 10.0},
    "r2_penalty": {"gamma": 10.0},
    "ranknet": {"sigma": 1.0},
    "siglip": {"scale": 10.0, "bias": -10.0},
    "supcon": {"temperature": 0.07},
    "triplet": {"margin": 1.0, "mining": "all"},
    "vicreg": {"invariance": 25.0, "variance": 25.0, "covariance": 1.0, "eps": 1e-4},
    "wgan_gp": {"lam": 10.0, "target": 1.0},
}

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adabelief": {"lr": 1e-3, "eps": 1e-16, "rectify": True, "decoupled_weight_decay": True},
    "adabound": {"lr": 1e-3, "final_lr": 0.1, "gamma": 1e-3},
    "adan": {"lr": 1e-3, "betas": (0.98, 0.92, 0.99), "weight_decay": 0.0},
    "ademamix": {"lr": 1e-3, "betas": (0.9, 0.999, 0.9999), "alpha": 5.0},
    "adopt": {"lr": 1e-3, "betas": (0.9, 0.9999), "eps": 1e-6, "clip": True},
    "aggmo": {"betas": (0.0, 0.9, 0.99)},
    "asam": {"rho": 0.5},
    "dadapt_adam": {"lr": 1.0, "d0": 1e-6},
    "dadapt_sgd": {"lr": 1.0, "d0": 1e-6},
    "ema": {"decay": 0.999},
    "ftrl": {"lr": 1e-3, "lr_power": -0.5, "l1": 0.0, "l2": 0.0},
    "lamb": {"lr": 1e-3, "eps": 1e-6, "weight_decay": 0.01},
    "lars": {"trust_coefficient": 1e-3, "momentum": 0.9},
    "lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "lookahead": {"k": 5, "alpha": 0.5},
    "madgrad": {"lr": 1e-2, "momentum": 0.9},
    "mars": {"lr": 3e-3, "gamma": 0.025, "betas": (0.95, 0.99)},
    "novograd": {"betas": (0.95, 0.98), "grad_averaging": False},
    "prodigy": {"lr": 1.0, "d0": 1e-6, "d_coef": 1.0, "weight_decay": 0.0},
    "qhadam": {"nus": (1.0, 1.0)},
    "qhm": {"nu": 0.7, "momentum": 0.999},
    "sam": {"rho": 0.05},
    "schedule_free_adamw": {"lr": 2.5e-3, "betas": (0.9, 0.999), "warmup_steps": 0},
    "schedule_free_sgd": {"lr": 1.0, "momentum": 0.9},
    "shampoo": {"lr": 0.1, "eps": 1e-4, "update_freq": 1},
    "signsgd": {"lr": 1e-3},
    "soap": {
        "lr": 3e-3, "betas": (0.95, 0.95), "precondition_frequency": 10, "weight_decay": 0.01,
    },
    "tiger": {"lr": 1e-3, "beta": 0.965, "weight_decay": 0.01},
    "yogi": {"lr": 1e-2, "eps": 1e-3, "initial_accumulator": 1e-6},
}  # fmt: skip

SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine_hard_restarts_with_warmup": {"num_cycles": 1},
    "cosine_with_warmup": {"num_cycles": 0.5},
    "inverse_sqrt": {"warmup_steps": 4000},
    "polynomial_with_warmup": {"lr_end": 1e-7, "power": 1.0},
}

EXPECTED = {
    "activation": ACTIVATIONS,
    "loss": REGRESSION | CLASSES | MARGINS | IMAGES | SAMPLES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, named in EXPECTED.items() for name in named]
)
def test_defaults_are_those_of_the_origin(kind: str, name: str) -> None:
    defaults = KINDS[kind][name].defaults()
    wanted = EXPECTED[kind][name]
    assert {knob: defaults.get(knob) for knob in wanted} == wanted


@pytest.mark.parametrize("kind", ["activation", "loss", "optimizer"])
def test_no_number_is_left_out(kind: str) -> None:
    """Who adds a component with a default of its own writes it here, with a source in mind."""
    plain = {"eps", "weight_decay", "lr", "momentum"}
    forgotten = [
        name
        for name, entry in KINDS[kind].items()
        if not entry.kernel
        and name not in EXPECTED[kind]
        and any(type(v) is float and n not in plain for n, v in entry.defaults().items())
    ]
    assert not forgotten
