"""Two optimizers side by side: one for the embedding tables, AdamW for all the rest.

Row-wise Adagrad (one accumulator per row; used by DLRM training and FBGEMM) for a table W with row gradients g:

    g_i <- g_i + weight_decay * W_i                    for the rows i of the batch only
    s_i <- s_i + mean_j g_ij^2
    W_i <- W_i - lr * g_i / (sqrt(s_i) + eps)
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from hemix.errors import RunError, TrainingError
from hemix.training.config import TrainConfig
from hemix.training.gradients import merge_rows

ROWWISE_ADAGRAD_LR = 0.02


class RowwiseAdagrad(Optimizer):
    """Adagrad with one accumulator per row of each (V, D) table; reads and writes only the rows with a gradient."""

    def __init__(
        self,
        tables: Iterable[nn.Parameter],
        lr: float = ROWWISE_ADAGRAD_LR,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(tables, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update. Raises TrainingError for a dense gradient, which would touch every row."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group["lr"], group["eps"], group["weight_decay"])
        return loss

    def _update(self, table: nn.Parameter, lr: float, eps: float, weight_decay: float) -> None:
        assert table.grad is not None
        if not table.grad.is_sparse:
            raise TrainingError(
                f"Row-wise Adagrad needs sparse gradients; a table of shape {tuple(table.shape)} has a dense one. "
                "Set train.table_optimizer: adam."
            )
        state = self.state[table]
        if not state:
            state["sum"] = torch.zeros(table.shape[0], dtype=table.dtype, device=table.device)
        rows, values = merge_rows(table.grad)
        if weight_decay:
            values = values + weight_decay * table[rows]
        sums = state["sum"]
        sums.index_add_(0, rows, values.square().mean(1))
        table.index_add_(0, rows, values * (-lr / (sums[rows].sqrt() + eps))[:, None])


class Optimizers:
    """The optimizers of one training: `dense` for all parameters but the tables, `tables` for those (None: no tables).

    Args:
        named: every trainable parameter with its name.
        tables: names of the embedding tables among them.
        config: learning rates, decay and the kind of table optimizer.
        undecayed: names of parameters that are not the matrix of a map, whatever their shape.

    Weight decay falls on the matrices of maps: on parameters with two or more axes that are neither tables nor
    `undecayed`. A module lists what it excludes (learned vectors, biases and scales by token) as its `no_decay`.
    """

    def __init__(
        self,
        named: dict[str, nn.Parameter],
        tables: Iterable[str],
        config: TrainConfig,
        undecayed: Iterable[str] = (),
    ) -> None:
        self._named = named
        table_names = set(tables)
        rest = {name: parameter for name, parameter in named.items() if name not in table_names}
        self.dense = _adamw(rest, config, set(undecayed)) if rest else None
        self.tables = _table_optimizer([named[name] for name in sorted(table_names)], config) if table_names else None
        self._dense_tables = config.table_optimizer == "adam"
        self._rates = [(group, group["lr"]) for optimizer in self._all() for group in optimizer.param_groups]

    def _all(self) -> list[Optimizer]:
        return [optimizer for optimizer in (self.dense, self.tables) if optimizer is not None]

    def set_rate_factor(self, factor: float) -> None:
        """Multiply every configured learning rate by `factor`."""
        for group, rate in self._rates:
            group["lr"] = rate * factor

    def zero_grad(self) -> None:
        for parameter in self._named.values():
            parameter.grad = None

    def step(self) -> None:
        """One update of all parameters that have a gradient."""
        if self._dense_tables and self.tables is not None:
            for group in self.tables.param_groups:
                for table in group["params"]:
                    if table.grad is not None and table.grad.is_sparse:
                        table.grad = table.grad.to_dense()
        for optimizer in self._all():
            optimizer.step()

    def state_dict(self) -> dict[str, Tensor]:
        """Every tensor that the optimizers remember, as ``parameter name/key``."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self._named.items()}
        return {
            f"{names[parameter]}/{key}": value
            for optimizer in self._all()
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_dict` returned. Raises RunError if a tensor belongs to no parameter."""
        owners = {parameter: optimizer for optimizer in self._all() for parameter in _parameters(optimizer)}
        for optimizer in self._all():
            optimizer.state.clear()
        for name, value in tensors.items():
            parameter = self._named.get(name.rpartition("/")[0])
            if parameter is None:
                raise RunError(f"The checkpoint has optimizer state {name!r}, of no parameter of this model.")
            owners[parameter].state[parameter][name.rpartition("/")[2]] = value


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _fused(parameters: list[nn.Parameter]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


def _adamw(named: dict[str, nn.Parameter], config: TrainConfig, undecayed: set[str]) -> AdamW:
    settings = config.optimizer
    decayed = {name for name, parameter in named.items() if parameter.ndim >= 2} - undecayed
    groups = [
        {"params": [p for name, p in named.items() if name in decayed], "weight_decay": settings.weight_decay},
        {"params": [p for name, p in named.items() if name not in decayed], "weight_decay": 0.0},
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=_fused(list(named.values())),
    )


def _table_optimizer(tables: list[nn.Parameter], config: TrainConfig) -> Optimizer:
    if config.table_optimizer == "rowwise_adagrad":
        return RowwiseAdagrad(tables, lr=config.table_lr or ROWWISE_ADAGRAD_LR, weight_decay=config.table_weight_decay)
    settings = config.optimizer
    return Adam(
        tables,
        lr=config.table_lr or settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=config.table_weight_decay,
        fused=_fused(tables),
    )
