"""A device that pretends: its tensors lie in main memory, but torch takes them as elsewhere.

`register()` adds the device "pretend" to this process, for good: use it in a process of its own.
A pretend tensor is a shell with the shape, strides and dtype of the CPU tensor inside it, and every
operation runs on what is inside. As on a GPU, an operation that mixes devices is refused, except
for what torch allows there: numbers (tensors without dimensions), copies, and indices of the CPU.
Numbers come out as on the CPU, so results can be compared closely.
"""

import torch
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"
_MAY_MIX = {"aten::copy_", "aten::index", "aten::index_put", "aten::index_put_"}
_MAY_MIX |= {"aten::_index_put_impl_", "aten::_unsafe_index"}


class PretendTensor(torch.Tensor):
    """A tensor of the device "pretend"; `inside` is the CPU tensor that holds its numbers."""

    @staticmethod
    def __new__(cls, inside: torch.Tensor):
        shell = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        shell.inside = inside
        return shell

    def __repr__(self, *, tensor_contents=None):
        return f"pretend({self.inside!r})"

    def numpy(self, *, force=False):
        if not force:
            raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy; copy it first")
        return self.detach().cpu().numpy()

    def tolist(self):
        return self.detach().cpu().tolist()

    __array__ = None  # numpy.asarray(tensor) fails, as it does for a GPU's

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():  # results stay what dispatch made of them
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _refuse_mixed_devices(func, args, kwargs)
        to_cpu = torch.device(kwargs.get("device") or NAME).type == "cpu"
        here = tree_map(_inside, args)
        if func._schema.name == "aten::histc":  # GPUs count whole numbers, too; a CPU does not
            here = (here[0].float(), *here[1:])
        out = func(*here, **tree_map(_inside, kwargs))
        if func._schema.name == "aten::histc":
            out = out.to(args[0].dtype)
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, PretendTensor) and x.shape != x.inside.shape:
                raise NotImplementedError(f"{func}: the shell of a pretend tensor cannot grow")
        if to_cpu:
            return out
        wrapped = tree_map(lambda x: cls(x) if isinstance(x, torch.Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _inside(x):
    if isinstance(x, PretendTensor):
        return x.inside
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == NAME else x


def _refuse_mixed_devices(func, args, kwargs) -> None:
    name = func._schema.name
    leaves = tree_leaves((args, kwargs))
    for x in leaves:
        foreign = isinstance(x, torch.Tensor) and not isinstance(x, PretendTensor)
        if foreign and x.dim() > 0 and name not in _MAY_MIX:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {name} got one of "
                f"{NAME}:0 and one of cpu, {tuple(x.shape)}"
            )
        if isinstance(x, torch.Generator) and x.device.type == "cpu":
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")


def _attention(
    q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """The formula, because torch chooses its kernels of attention by device types that it knows."""
    assert not dropout_p
    if enable_gqa:
        times = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ v


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return PretendTensor(torch.empty(size, dtype=dtype, device="cpu"))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return PretendTensor(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _arange(*bounds, dtype=None, layout=None, device=None, pin_memory=None):
    return PretendTensor(torch.arange(*bounds, dtype=dtype, device="cpu"))


def _copy_from(source, target, non_blocking=False):
    """What torch.tensor(..., device="pretend") ends with, where it does not ask the subclass."""
    _inside(target).copy_(_inside(source))
    return target


def register() -> torch.device:
    """Make the device known to torch, and return it."""
    from torch.utils.backend_registration import (
        _DummyBackendModule,
        _setup_privateuseone_for_python_backend,
    )

    module = _DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    _setup_privateuseone_for_python_backend(NAME, backend_module=module)
    # model.to(device) keeps a parameter that two modules share one parameter, as for a GPU
    torch.__future__.set_swap_module_params_on_conversion(True)
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    for overload in (
        "arange",
        "arange.start",
        "arange.start_step",
    ):  # torch's own fills an empty one
        library.impl(overload, _arange, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    register.library = library  # its entries live as long as it does
    return torch.device(NAME, 0)
