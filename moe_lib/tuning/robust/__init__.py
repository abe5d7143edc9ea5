"""Against overfitting, for robustness, and with few labels (notebook 15).

how = dict(objective=FGM(1.0), method=ExpertDropout(0.4, 0.1), label_smoothing=0.1)
finetune(head, batches, epochs=3, **how)
attack_curve(head, Examples(test, 64), radii=(0, 0.5, 1, 2))
"""

from moe_lib.tuning.robust.active import ActivelyLearned, learn_actively, uncertainty
from moe_lib.tuning.robust.adversarial import FGM, PGD, worst_perturbation
from moe_lib.tuning.robust.attacking import Attacked, attack, attack_curve
from moe_lib.tuning.robust.augmentation import (
    BackTranslated,
    InTurn,
    Synonyms,
    WordDropout,
    augment_texts,
    back_translate,
    load_synonyms,
    words_of_labels,
)
from moe_lib.tuning.robust.augmented_rows import Augment, augment_rows
from moe_lib.tuning.robust.averaging import MovingAverage, average_weights, ensemble
from moe_lib.tuning.robust.calibration import Temperature, coverage_curve, fit_temperature
from moe_lib.tuning.robust.consistency import Consistency, ConsistencyBatches, RDrop, kl_divergence
from moe_lib.tuning.robust.contrastive import SimCSE, info_nce
from moe_lib.tuning.robust.expert_dropout import ExpertDropout
from moe_lib.tuning.robust.out_of_scope import auroc, class_logits, energy_score, max_probability
from moe_lib.tuning.robust.perturbing import embedding_norms, perturbed
from moe_lib.tuning.robust.self_training import SelfTrained, self_train

__all__ = [
    "FGM",
    "PGD",
    "ActivelyLearned",
    "Attacked",
    "Augment",
    "BackTranslated",
    "Consistency",
    "ConsistencyBatches",
    "ExpertDropout",
    "InTurn",
    "MovingAverage",
    "RDrop",
    "SelfTrained",
    "SimCSE",
    "Synonyms",
    "Temperature",
    "WordDropout",
    "attack",
    "attack_curve",
    "augment_rows",
    "augment_texts",
    "auroc",
    "average_weights",
    "back_translate",
    "class_logits",
    "coverage_curve",
    "embedding_norms",
    "energy_score",
    "ensemble",
    "fit_temperature",
    "info_nce",
    "kl_divergence",
    "learn_actively",
    "load_synonyms",
    "max_probability",
    "perturbed",
    "self_train",
    "uncertainty",
    "words_of_labels",
    "worst_perturbation",
]
