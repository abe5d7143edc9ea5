"""A LoRA of ours in the files of Hugging Face's peft."""

from pathlib import Path

from moe_lib.errors import require
from moe_lib.files import write_json, write_tensors
from moe_lib.interop.names import stacked_name
from moe_lib.tuning.methods.base import Attached
from moe_lib.validation import PathLike, checked


@checked
def export_peft(attached: Attached, folder: PathLike, base: PathLike | None = None) -> Path:
    """Write adapter_model.safetensors and adapter_config.json, so that peft puts this LoRA on the
    same base:

        save_transformers(model, base_folder)  # the plain model: before attach() or after detach()
        export_peft(attached, folder)
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder), folder)

    base   where the base can be found, for the field base_model_name_or_path; None leaves it empty

    Only matrices of attention: peft (0.21) takes every gate_proj, up_proj and down_proj in a file
    for this kind of model as the routed experts, also those of dense layers and shared experts.
    Merge such a LoRA, an AdaLoRA or another method, and save_transformers the merged model. Returns
    the folder. Raises TypeError for other methods, ValueError for other matrices.
    """
    wrappers = getattr(attached, "wrappers", {})
    name = type(getattr(attached, "method", attached)).__name__
    require(
        name == "LoRA",
        "attached",
        name,
        "an attached LoRA; merge() others and save_transformers",
        TypeError,
    )
    others = [path for path in wrappers if ".attention." not in path]
    require(
        not others,
        "attached",
        f"a LoRA on {', '.join(others[:1])}",
        "one on attention only: merge() it and save_transformers the model",
    )
    latent = attached.model.config.attention == "mla"
    wants = "one on latent attention, that of the models of transformers it is read by"
    require(latent, "attached", f"a LoRA on {attached.model.config.attention!r}", wants)
    theirs_of = {path: stacked_name(f"{path}.weight").removesuffix(".weight") for path in wrappers}
    tensors = {}
    for path, wrapper in wrappers.items():
        theirs = theirs_of[path]
        tensors[f"base_model.model.{theirs}.lora_A.weight"] = wrapper.A
        tensors[f"base_model.model.{theirs}.lora_B.weight"] = wrapper.B
    method, folder = attached.method, Path(folder)
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": method.rank,
        "lora_alpha": method.alpha,
        "lora_dropout": method.dropout,
        "bias": "none",
        "inference_mode": True,
        "base_model_name_or_path": None if base is None else str(base),
        "target_modules": list(theirs_of.values()),
    }
    write_json(folder / "adapter_config.json", config)
    return folder
