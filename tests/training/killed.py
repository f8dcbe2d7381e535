"""A slow training to be killed: ``python killed.py FOLDER TABLE_OPTIMIZER``."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hemix.training.folder import RunFolder
from hemix.training.trainer import Trainer
from training.toy import ToyBatch, ToyLoader, toy_config, toy_trainer


class SlowLoader(ToyLoader):
    """Takes its time, so that there is a middle to be killed in."""

    def __iter__(self) -> Iterator[ToyBatch]:
        for batch in super().__iter__():
            time.sleep(0.01)
            yield batch


def trainer_of(path: Path, tables: str, loader: ToyLoader) -> Trainer:
    """Logs every step, saves every second one."""
    config = toy_config(table_optimizer=tables, epochs=4, log_steps=1, checkpoint_steps=2, validate_every=56)
    return toy_trainer(RunFolder(path), config, loader=loader)


if __name__ == "__main__":
    trainer = trainer_of(Path(sys.argv[1]), sys.argv[2], SlowLoader())
    trainer.start()
    trainer.fit()
