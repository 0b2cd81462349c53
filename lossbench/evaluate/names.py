"""What papers and other libraries call the knobs, the weights and the inputs of components.

Only data and the search through it. A name is taken exactly; then as the symbol that a paper uses
for one component; then as a word that several libraries use for the same thing; then in another
case. What stays unknown is refused by the caller.
"""

import math
from collections.abc import Callable, Collection, Mapping

SYNONYMS = (
    ("alpha", "a", "negative_slope"),
    ("alpha", "rho"),
    ("negative_slope", "alpha", "slope"),
    ("slope", "weight", "alpha", "a", "negative_slope"),
    ("beta", "b"),
    ("gamma", "g", "decay_rate"),
    ("eps", "epsilon", "e"),
    ("margin", "m"),
    ("mu", "m", "momentum"),
    ("momentum", "mu", "mom", "beta", "beta1"),
    ("dampening", "damp"),
    ("scale", "s", "sigma"),
    ("sigma", "s", "noise_sigma"),
    ("smoothing", "label_smoothing", "label_smooth", "s"),
    ("temperature", "tau", "t", "T", "temp"),
    ("tau", "t", "temperature"),
    ("threshold", "t", "theta"),
    ("theta", "t", "threshold", "th"),
    ("lambd", "lam", "lambda", "l", "lambda_", "lambda_param"),
    ("lam", "lambd", "lambda", "lambda_"),
    ("lambda_dice", "lam_d"),
    ("lambda_ce", "lam_c"),
    ("focal_weight", "lam", "lambda", "lambd"),
    ("weight", "class_weight", "class_weights"),
    ("delta", "d", "k"),
    ("quantile", "q", "tau", "alpha"),
    ("q", "quantile", "tau", "alpha"),
    ("power", "p", "q"),
    ("p", "power", "norm", "ord"),
    ("omega", "w", "w0", "omega_0"),
    ("w", "width", "omega"),
    ("bottom", "T", "t"),
    ("dim", "axis"),
    ("keepdim", "keepdims"),
    ("min_val", "lo", "min", "min_value"),
    ("max_val", "hi", "max", "max_value", "L", "data_range"),
    ("lower", "lo"),
    ("upper", "hi"),
    ("k1", "K1"),
    ("window_size", "window", "win_size", "kernel_size"),
    ("smooth_nr", "sn"),
    ("smooth_dr", "sd"),
    ("squared", "squared_pred"),
    ("weight_type", "w_type"),
    ("iterations", "iter", "iter_", "num_iter", "num_iters"),
    ("num_iters", "iterations", "num_iter"),
    ("centers", "K", "k", "sub_centers", "num_centers"),
    ("matrix", "T", "noise_matrix", "transition_matrix"),
    ("base", "optimizer", "loss"),
    ("constant", "C", "c"),
    ("width", "W", "w"),
    ("height", "H", "h"),
    ("df", "v", "nu"),
    ("log_zero", "A"),
    ("gamma_pos", "gamma_positive"),
    ("gamma_neg", "gamma_negative"),
    ("class_counts", "counts", "samples_per_class", "cls_num_list", "num_class_list", "prior", "n"),
    ("student_temperature", "ts", "student_temp"),
    ("teacher_temperature", "tt", "teacher_temp"),
    ("invariance", "sim_coeff", "invariance_lambda", "lambda", "lam", "lambd"),
    ("variance", "std_coeff", "variance_mu", "var", "v"),
    ("covariance", "cov_coeff", "covariance_v", "nu"),
    ("log_scale", "logit_scale", "log_t"),
    ("unbiased", "unbiased_std"),
    ("lr", "learning_rate", "base_lr"),
    ("weight_decay", "wd", "decay"),
    ("trust_coefficient", "c", "eta", "trust_coeff", "eeta"),
    ("momentum_decay", "psi", "schedule_decay"),
    ("lr_power", "learning_rate_power"),
    ("l1", "l1_regularization_strength", "l1reg"),
    ("l2", "l2_regularization_strength", "l2reg"),
    ("l2_shrinkage", "l2_shrinkage_regularization_strength"),
    ("l2_reg", "l2_reg_weight", "reg_lambda"),
    ("beta2_decay", "beta_2_decay", "decay_rate"),
    ("d", "clip_threshold"),
    ("decoupled_weight_decay", "decoupled", "weight_decouple"),
    ("initial_accumulator", "initial_accumulator_value", "v0"),
    ("initial_accumulator_value", "initial_accumulator"),
    ("d_coef", "d_coefficient"),
    ("k", "sync_period", "k_lookahead"),
    ("alpha", "slow_step_size"),
    ("decay", "ema_decay", "beta"),
    ("total_steps", "num_training_steps", "total_iters", "t_max", "T_max", "n", "T", "num_steps"),
    ("total_iters", "total_steps", "iters", "n"),
    ("T_max", "T", "t_max", "total_steps", "total_iters", "n"),
    ("T_0", "T0", "t_0", "first_cycle_steps"),
    ("T_mult", "t_mult", "cycle_mult"),
    ("warmup_steps", "num_warmup_steps", "warmup", "warmup_iters", "w"),
    ("stable_steps", "num_stable_steps"),
    ("decay_steps", "num_decay_steps"),
    ("decay_type", "cooldown_type"),
    ("num_cycles", "cycles", "c"),
    ("swa_lr", "lr_swa"),
    ("init_lr", "lr_init", "warmup_start_lr", "init"),
    ("max_lr", "lr_max", "peak_lr", "max"),
    ("min_lr", "lr_min", "eta_min", "lr_end", "min"),
    ("eta_min", "e", "min_lr", "lr_min"),
    ("lr_end", "min_lr", "end_lr"),
    ("factor", "f"),
    ("start_factor", "s", "start"),
    ("end_factor", "e", "end"),
    ("step_size", "k"),
    ("div_factor", "div"),
    ("final_div_factor", "final_div"),
    ("schedules", "schedulers"),
)
"""Names that mean the same: the first is what a component may call it, the rest are what people do.

A group is also read backwards: any of its names stands for any other that the component has.
"""

SYMBOLS: Mapping[str, Mapping[str, str]] = {
    "adaptive_wing": {"w": "w", "e": "eps", "th": "theta", "a": "alpha"},
    "balanced_l1": {"a": "alpha", "g": "gamma", "B": "beta"},
    "multi_similarity": {"a": "alpha", "b": "beta", "l": "base", "lambda": "base"},
    "magface": {"l": "margins", "u": "margins"},
    "margin": {"b": "beta", "m": "margin"},
    "siglip": {"t": "scale", "b": "bias", "temperature": "scale"},
    "smu": {"m": "mu", "a": "alpha"},
    "dynamic_tanh": {"a": "alpha", "g": "weight", "b": "bias", "gamma": "weight", "beta": "bias"},
    "acon_c": {"b": "beta"},
    "srelu": {"t_l": "lower", "a_l": "lower_slope", "t_r": "upper", "a_r": "upper_slope"},
    "star_relu": {"s": "scale", "b": "bias"},
    "snake": {"frequency": "alpha"},
    "threshold": {"t": "threshold", "v": "value"},
    "linear": {"W": "weight", "b": "bias", "kernel": "weight"},
    "layer_norm": {"gamma": "weight", "beta": "bias"},
    "batch_norm": {
        "gamma": "weight",
        "beta": "bias",
        "mean": "running_mean",
        "var": "running_var",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
    "laplace_nll": {"b": "scale"},
    "schedule_free_sgd": {"b": "momentum"},
    "asl1": {"m": "mu"},
    "ghm_r": {"m": "mu"},
    "siou": {"t": "theta"},
    "quantile_huber": {"q": "quantile", "k": "k", "delta": "k", "kappa": "k"},
    "student_t_nll": {"v": "df", "s": "scale", "nu": "df"},
    "align_uniform": {"a": "alpha", "t": "t"},
    "rmsprop": {"a": "alpha", "rho": "alpha"},
    "nwd": {"C": "constant", "c": "constant"},
    "unified_focal": {"lam": "weight", "lambda": "weight", "lambd": "weight"},
    "l2_softmax": {"scale": "alpha", "s": "alpha"},
}
"""What a paper writes for one component where the same letter means something else elsewhere."""

BOTH: Mapping[str, tuple[str, ...]] = {
    "smooth": ("smooth_nr", "smooth_dr"),
    "smoothing": ("smooth_nr", "smooth_dr"),
}
"""One number for two knobs."""

TUPLES = (("beta", "betas"), ("beta_", "betas"), ("b", "betas"), ("nu", "nus"), ("epsilon_", "eps"))

MEMBERS: Mapping[str, tuple[str, int]] = {
    f"{word}{index + 1}": (knob, index) for word, knob in TUPLES for index in range(3)
}
"""A knob that is a tuple, given member by member: beta_1 and beta_2 for betas."""

SPOKEN: Mapping[str, Mapping[object, object]] = {
    "approximate": {True: "tanh", False: "none"},
    "version": {1: "v1", 2: "v2", 3: "v3"},
}
"""Values that other libraries write otherwise."""

TURNED: Mapping[str, Mapping[str, tuple[str, Callable[[float], float]]]] = {
    "clip": {"scale": ("temperature", lambda scale: 1 / scale)},
    "normface": {"temperature": ("scale", lambda temperature: 1 / temperature)},
    "siglip": {"log_t": ("scale", math.exp)},
}
"""Numbers that say the same the other way round."""

INPUTS = (
    ("d_real", "real", "real_logits", "real_outputs", "discriminator_real_outputs", "R"),
    ("d_fake", "fake", "fake_logits", "fake_outputs", "discriminator_gen_outputs", "F"),
    ("mean", "mu"),
    ("log_variance", "logvar", "log_var"),
    ("variance", "var"),
    ("anchor", "anchors", "a", "query"),
    ("positive", "positives", "p"),
    ("negative", "negatives", "n"),
    ("input1", "x1"),
    ("input2", "x2"),
    ("view1", "z1", "z_a", "image", "images", "student", "query", "q", "x1", "input1"),
    ("view2", "z2", "z_b", "text", "texts", "teacher", "key", "keys", "x2", "input2"),
    ("x1", "input1", "x", "boxes1"),
    ("x2", "input2", "y", "boxes2"),
    ("prediction", "boxes1", "pred", "features", "embeddings"),
    ("target", "boxes2", "labels", "y_true"),
    ("embeddings", "features", "prediction", "pred"),
    ("input_lengths", "logit_lengths", "input_length", "prediction_lengths"),
    ("target_lengths", "label_lengths", "target_length", "label_length"),
    ("student", "student_logits", "s"),
    ("teacher", "teacher_logits", "t"),
    ("inverse_covariance", "VI", "cov_inv"),
)
"""Names of inputs that mean the same, the component's own first."""


def find_name(name: str, known: Collection[str], component: str) -> str | None:
    """Return which of the known names is meant, none where none is."""
    if name in known:
        return name
    symbol = SYMBOLS.get(component, {}).get(name)
    if symbol in known:
        return symbol
    for group in SYNONYMS:
        if name in group:
            found = next((other for other in group if other in known), None)
            if found is not None:
                return found
    alike = [other for other in known if other.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def find_input(name: str, known: Collection[str]) -> str | None:
    """Return which input is meant: itself, or the first whose other names hold it."""
    if name in known:
        return name
    return next((group[0] for group in INPUTS if name in group and group[0] in known), None)
