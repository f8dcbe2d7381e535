"""Where do the places of InterFormer's sequence look, layer by layer? The maps of its paper, of one's own run.

For rows of the split whose histories are full: the weights of self-attention of each layer (mean over rows and heads),
from CLS tokens and events (down) to CLS tokens and events (across), oldest event first. Of each layer:

    places  exp of the mean entropy of a row of weights: as many places, looked at equally, would be as broad
    to CLS  share of the weights that events give to the CLS tokens
    near    weight that an event gives to the events at most 4 places away, over what equal weights would give

The picture has the weights on a logarithmic scale around that of equal weights.
Usage: interformer_maps.py RUN --picture FILE [--split valid] [--rows 500]
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hemix.data.loader import Loader
from hemix.models.interformer import InterFormer
from hemix.models.interformer.sequence import SequenceLayer
from hemix.run import Run

NEAR = 4
FACTORS = (0.1, 0.3, 1, 3, 10)
"""Ticks of the scale of the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--split", choices=("valid", "test"), default="valid")
    parser.add_argument("--rows", type=int, default=500)
    options = parser.parse_args()
    run = Run.open(options.run)
    backbone = run.ranker.backbone
    assert isinstance(backbone, InterFormer), f"{options.run} is a run of {run.experiment.model.name}"
    num_cls = backbone.config.num_summaries
    maps, entropies = full_maps(run, options.split, options.rows)
    print("| layer | places | to CLS | near |\n| ---: | ---: | ---: | ---: |")
    for layer, (weights, entropy) in enumerate(zip(maps, entropies, strict=True), 1):
        events = weights[num_cls:, num_cls:]
        steps = np.arange(len(events))
        near = np.abs(steps[:, None] - steps) <= NEAR
        above = (events * near).sum(axis=1) / events.sum(axis=1) / near.mean(axis=1)
        to_cls = weights[num_cls:, :num_cls].sum(axis=1).mean()
        print(f"| {layer} | {math.exp(entropy):.1f} of {len(weights)} | {to_cls:.1%} | {above.mean():.2f} |")
    draw(maps, options.picture)


@torch.no_grad()
def full_maps(run: Run, split: str, num_rows: int) -> tuple[list[np.ndarray], list[float]]:
    """Of each layer: mean weights (P, P), and the mean entropy of a place's weights."""
    model = run.ranker.eval()
    given: list[tuple[SequenceLayer, tuple[Tensor, ...]]] = []
    layers = [layer for layer in model.modules() if isinstance(layer, SequenceLayer)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, arguments: given.append((layer, arguments)))
    sums = {layer: torch.zeros(()) for layer in layers}
    entropies, rows = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0)
    for batch in Loader(run.store.split(split), batch_size=256, seed=None):
        given.clear()
        model(batch)
        for layer, (s, x_sum, present) in given:
            full = present.all(dim=1)
            if rows[layer] >= num_rows or not full.any() or present.shape[1] < longest(run):
                continue
            weights = layer.weights(s[full], None if x_sum is None else x_sum[full], present[full])
            entropies[layer] += float(-(weights * weights.clamp(min=1e-12).log()).sum(dim=3).mean(dim=(1, 2)).sum())
            sums[layer] = sums[layer] + weights.mean(dim=2).sum(dim=0)
            rows[layer] += len(weights)
        if min(rows.values()) >= num_rows:
            break
    assert min(rows.values()) > 0, f"no row of {split} has full histories"
    return [(sums[layer] / rows[layer]).numpy() for layer in layers], [
        entropies[layer] / rows[layer] for layer in layers
    ]


def longest(run: Run) -> int:
    """Places of a sequence where all histories are full."""
    backbone = run.ranker.backbone
    assert isinstance(backbone, InterFormer)
    assert backbone.fusion is not None
    lengths = {history.name: history.max_length for history in run.store.inputs.histories}
    return backbone.config.num_summaries + backbone.fusion.length(lengths)


def draw(maps: list[np.ndarray], path: Path) -> None:
    import matplotlib
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    from hemix.study.pictures import DPI, STYLE

    equal = 1 / len(maps[0])
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(4.6 * len(maps) + 0.8, 4.4))
        panels = figure.subplots(1, len(maps), squeeze=False)[0]
        for layer, (panel, weights) in enumerate(zip(panels, maps, strict=True), 1):
            scale = LogNorm(equal * FACTORS[0], equal * FACTORS[-1])
            image = panel.imshow(weights, cmap="RdBu_r", norm=scale, interpolation="nearest")
            panel.set(title=f"layer {layer}", xlabel="place looked at: CLS, then oldest to latest")
        panels[0].set_ylabel("place that looks")
        bar = figure.colorbar(image, ax=list(panels), label="weight, in those of equal weights", shrink=0.8)
        bar.set_ticks([equal * factor for factor in FACTORS], labels=[f"{factor:g}" for factor in FACTORS])
        bar.minorticks_off()
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
